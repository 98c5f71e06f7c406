#!/usr/bin/env bash
# What each filter is made of: <folder>/<name>.cdx.json, CycloneDX 1.5, for the build for WebAssembly.
#
# usage: sbom.sh <folder>
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

out=$(realpath -m "${1:?usage: sbom.sh <folder>}")
root=$PWD
export PATH="$root/.tools/bin:$PATH"
# In a copy: cargo-cyclonedx writes beside each Cargo.toml.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 -I{} find {} -maxdepth 0 -type f -print0 | xargs -0 cp --parents -t "$copy"
cd "$copy"
cargo cyclonedx --quiet --format json --spec-version 1.5 --target wasm32-wasip1 --no-build-deps \
    --manifest-path Cargo.toml --override-filename sbom

mkdir -p "$out"
made=0
for manifest in filters/*/Cargo.toml; do
    grep -q cdylib "$manifest" || continue
    folder=$(dirname "$manifest")
    name=$(basename "$folder")
    # Where the copy was says nothing about the filter.
    sed "s|file://$copy|file://.|g" "$folder/sbom.json" >"$out/${name//-/_}.cdx.json"
    made=$((made + 1))
done
[ "$made" -gt 0 ] || die "no filter in filters/"
say "$made SBOMs in $out"
