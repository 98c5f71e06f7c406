"""What the tests want of Helm: its own code, as a library, without a cluster and without a network.

usage: helm.py lint <chart> <values.yaml>...               as `helm lint --strict`; info alone is no finding
       helm.py template <chart> <folder> <values.yaml>...  what `helm install portcullis --namespace edge` would send: a
                                                           folder for each file of values, in it a file for each template
                                                           that makes something; NOTES.txt too
       helm.py package <chart> <folder>                    prints where the archive is
       helm.py show <chart>                                prints its Chart.yaml, values and their schema, as JSON

A chart is a folder or an archive. What Helm refuses is said on standard error, and ends with 1.
"""

import json
import pathlib
import sys

import helm_python as helm


def values_of(file):
    return helm.values_from_yaml(file.read_text(encoding="utf-8"))


def lint(chart, file):
    report = helm.lint(chart, values_of(file), strict=True)
    found = [f"{it['path']}: {it['error']}" for it in report["messages"] if it["severity"] > 1]
    if report["total_charts_linted"] != 1:
        found.append("nothing was linted")
    return [*found, *report["errors"]]


def template(chart, folder, file):
    with helm.Chart.load(chart) as loaded:
        rendered = loaded.render(values_of(file), name="portcullis", namespace="edge", is_install=True)
    made = pathlib.Path(folder, file.stem)
    made.mkdir()
    for name, text in rendered.items():
        if text.strip():
            made.joinpath(pathlib.Path(name).name).write_text(text.strip("\n") + "\n", encoding="utf-8")
    return []


def each(what, files):
    """What is wrong with each of these files, by its name."""
    for file in map(pathlib.Path, files):
        try:
            yield from (f"{file.stem}: {line}" for line in what(file))
        except helm.HelmError as error:
            yield f"{file.stem}: {' '.join(str(error).split())}"


def package(chart, folder):
    print(helm.package(chart, destination=folder))
    return []


def show(chart):
    with helm.Chart.load(chart) as loaded:
        print(json.dumps({"chart": loaded.metadata, "values": loaded.values, "schema": loaded.schema}))
    return []


match sys.argv[1:]:
    case ["lint", chart, *files] if files:
        wrong = [*each(lambda file: lint(chart, file), files)]
    case ["template", chart, folder, *files] if files:
        wrong = [*each(lambda file: template(chart, folder, file), files)]
    case ["package", chart, folder]:
        wrong = package(chart, folder)
    case ["show", chart]:
        wrong = show(chart)
    case _:
        sys.exit(__doc__)
print("".join(f"{line}\n" for line in wrong), end="", file=sys.stderr)
sys.exit(1 if wrong else 0)
