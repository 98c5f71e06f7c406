"""Checks manifests against the schemas of Kubernetes, strictly.

usage: kubernetes.py <wheel of kubernetes-validate> <version> <file>...

Then against each other: selectors find pods, ports have names, what is pointed at is there. The last line says how many
documents were checked. Of what is not Kubernetes' own, ServiceMonitors are checked against the operator's definition (servicemonitor.json),
and all others are counted as foreign.
"""

import json
import pathlib
import sys
import zipfile

import jsonschema_rs
import yaml

wheel, version, *files = sys.argv[1:]
archive = zipfile.ZipFile(wheel)
folder = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict/"
names = set(archive.namelist())


def schema_of(document):
    group, _, revision = document["apiVersion"].rpartition("/")
    parts = [document["kind"].lower(), group.split(".")[0], revision]
    name = folder + "-".join(part for part in parts if part) + ".json"
    return json.loads(archive.read(name)) if name in names else None


def retrieve(uri):
    return json.loads(archive.read(folder + uri.rsplit("/", 1)[-1]))


def strict(schema):
    """A definition's schema, in which an unknown field is an error; Kubernetes would drop it without a word."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {} if "properties" not in schema else {"additionalProperties": False}
    return closed | {key: strict(part) for key, part in schema.items()}


def service_monitor():
    schema = json.loads(pathlib.Path(__file__).with_name("servicemonitor.json").read_text(encoding="utf-8"))
    for part in ("apiVersion", "kind", "metadata"):
        schema["properties"][part] = {}
    return strict(schema)


def errors_of(document):
    """What is wrong with a document, or None if nobody here knows its kind."""
    if (document["apiVersion"], document["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor"):
        return jsonschema_rs.Draft7Validator(service_monitor()).iter_errors(document)
    schema = schema_of(document)
    if schema is None:
        return None
    schema["$id"] = "https://kubernetes.example/" + folder
    return jsonschema_rs.Draft7Validator(schema, retriever=retrieve).iter_errors(document)


def labels_of(selector):
    return (selector or {}).get("matchLabels", {}).items()


def dangling(documents):
    """What points at something that is not there, as far as these files say."""
    of = lambda kind: [d for d in documents if d["kind"] == kind]
    deployments = {d["metadata"]["name"]: d["spec"]["template"] for d in of("Deployment")}
    pods = {name: it["metadata"]["labels"].items() for name, it in deployments.items()}
    ports = {
        name: {port["name"]: port["containerPort"] for c in it["spec"]["containers"] for port in c["ports"]}
        for name, it in deployments.items()
    }

    def chosen(labels):
        return [name for name, own in pods.items() if labels <= own]

    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        name = f"{kind} {document['metadata']['name']}"
        if kind == "Deployment" and not chosen(labels_of(spec["selector"])):
            yield f"{name} does not select its own pods"
        if kind == "Deployment":
            account = spec["template"]["spec"]["serviceAccountName"]
            if account not in [d["metadata"]["name"] for d in of("ServiceAccount")]:
                yield f"{name}: there is no ServiceAccount {account}"
        if kind == "ConfigMap":
            volumes = [v for it in deployments.values() for v in it["spec"]["volumes"]]
            if not any(v.get("configMap", {}).get("name") == document["metadata"]["name"] for v in volumes):
                yield f"{name} is nobody's volume"
        if kind == "Service":
            found = chosen(spec["selector"].items())
            if not found:
                yield f"{name} selects no pod"
            for port in spec["ports"]:
                if any(port["targetPort"] not in ports[pod] for pod in found):
                    yield f"{name}: no pod has the port {port['targetPort']}"
        if kind == "PodDisruptionBudget" and not chosen(labels_of(spec["selector"])):
            yield f"{name} selects no pod"
        if kind == "HorizontalPodAutoscaler" and spec["scaleTargetRef"]["name"] not in deployments:
            yield f"{name}: there is no {spec['scaleTargetRef']['name']}"
        if kind == "NetworkPolicy" and document["metadata"]["namespace"] == "edge" and spec["podSelector"]:
            found = chosen(labels_of(spec["podSelector"]))
            if not found:
                yield f"{name} selects no pod"
            allowed = {p["port"] for rule in spec.get("ingress", []) for p in rule["ports"]}
            for pod in found:
                if allowed != set(ports[pod].values()):
                    yield f"{name} lets in {sorted(allowed)}, and {pod} listens on {sorted(ports[pod].values())}"
        if kind == "ServiceMonitor":
            wanted = labels_of(spec["selector"])
            services = [d for d in of("Service") if wanted <= d["metadata"]["labels"].items()]
            if len(services) != 1:
                yield f"{name} selects {len(services)} services"
            for service in services:
                names = [port["name"] for port in service["spec"]["ports"]]
                if any(endpoint["port"] not in names for endpoint in spec["endpoints"]):
                    yield f"{name}: {service['metadata']['name']} has no such port"


if folder + "deployment-apps-v1.json" not in names:
    sys.exit(f"{wheel} has no schemas of Kubernetes {version}")
documents, wrong, foreign = [], [], 0
for file in files:
    with open(file, encoding="utf-8") as text:
        for document in yaml.safe_load_all(text):
            errors = errors_of(document)
            if errors is None:
                foreign += 1
                continue
            documents.append(document)
            for error in errors:
                at = "/".join(str(part) for part in error.instance_path)
                wrong.append(f"{document['kind']} {document['metadata']['name']}: {at}: {error.message}")
if not wrong:
    wrong.extend(dangling(documents))
print("".join(f"{line}\n" for line in wrong) + f"{len(documents)} checked, {foreign} foreign, {len(wrong)} wrong")
sys.exit(1 if wrong else 0)
