#!/usr/bin/env bash
# The steps from built modules to images that an environment trusts: docs/release.md. Each is a target of the
# Makefile, and the release workflow calls those.
#
# usage: release.sh sbom|sign|verify|package|push|pull|promote
#   VERSION      the release: the tag without its v; default: the workspace's version
#   ENVIRONMENT  who is to run it; default: dev. For promote: who it is approved for
#   POLICY       which signatures that needs; default: ops/release/policy.toml
#   KEY          the file with the signing key, or KEY_ENV: the name of the variable that holds it
#   TICKET       where an approval was decided
#   SOURCE, BUILDER  where the sources are and who builds, as URIs, for the provenance
#   REGISTRY     where images go: ghcr.io/owner/portcullis; TLS=false for a registry without;
#                REGISTRY_USER and REGISTRY_PASSWORD, if it wants to know who
#
#   release/sbom, release/signed, release/chart, release/provenance.json, release/oci, release/pulled
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
ENVIRONMENT=${ENVIRONMENT:-dev}
POLICY=${POLICY:-ops/release/policy.toml}
TLS=${TLS:-true}

portcullis() {
    cargo run --quiet --locked --profile ci --package portcullis-cli --bin portcullis -- "$@"
}

# The options that name the signing key; the key itself is in no command line.
key() {
    if [ -n "${KEY_ENV:-}" ]; then
        printf '%s\n' --key-env "$KEY_ENV"
    else
        printf '%s\n' --key "${KEY:?the file with the signing key, or KEY_ENV}"
    fi
}

# The tag of an environment's images. What nobody has approved yet has the version alone.
tag() {
    [ "$ENVIRONMENT" = dev ] && echo "$VERSION" || echo "$VERSION-$ENVIRONMENT"
}

sbom() {
    rm -rf release/sbom
    tools/sbom.sh release/sbom
}

sign() {
    local commit key
    commit=$(git rev-parse HEAD)
    [ -z "$(git status --porcelain)" ] || die "this tree is not what is committed as $commit: $(git status --porcelain)"
    [ -d release/sbom ] || die "no SBOMs yet: make release-sbom"
    mapfile -t key < <(key)
    rm -rf release/chart
    local attached=(release/sbom/*.cdx.json dist/kong/*.meta.json "$(tools/chart.sh "$VERSION" release/chart)")
    portcullis provenance dist/*.wasm dist/kong/*.wasm --root dist "${key[@]}" \
        --source "${SOURCE:-git+$(git remote get-url origin)}" --commit "$commit" \
        --builder "${BUILDER:-urn:portcullis:builder:by-hand}" --toolchain dist/toolchain.txt --lock Cargo.lock \
        "${attached[@]/#/--byproduct=}" --out release/provenance.json
    rm -rf release/signed
    local gateway=(--version "$VERSION" --commit "$commit")
    portcullis sign dist/*.wasm "${key[@]}" --gateway envoy "${gateway[@]}" --out release/signed
    portcullis sign dist/kong/*.wasm "${key[@]}" --gateway kong "${gateway[@]}" --out release/signed/kong
    cp dist/kong/*.meta.json release/signed/kong/
    sums
}

sums() {
    # What was pulled has no chart: that is in no image.
    local parts=(signed sbom provenance.json)
    [ ! -d release/chart ] || parts+=(chart)
    (cd release && find "${parts[@]}" -type f | sort | xargs sha256sum >SHA256SUMS)
}

verify() {
    local provenance=(--provenance release/provenance.json)
    portcullis verify release/signed/*.wasm --policy "$POLICY" --environment "$ENVIRONMENT" --gateway envoy "${provenance[@]}"
    portcullis verify release/signed/kong/*.wasm --policy "$POLICY" --environment "$ENVIRONMENT" --gateway kong "${provenance[@]}"
}

package() {
    rm -rf release/oci
    portcullis package release/signed/*.wasm release/signed/kong/*.wasm --policy "$POLICY" --environment "$ENVIRONMENT" \
        --tag "$(tag)" --provenance release/provenance.json --sbom release/sbom --meta release/signed/kong --out release/oci
}

# Whose images are good is our own policy's to say, not skopeo's.
copy() {
    skopeo --insecure-policy copy --quiet --preserve-digests --src-tls-verify="$TLS" --dest-tls-verify="$TLS" "$1" "$2"
}

# What a registry takes is lower case.
registry() {
    : "${REGISTRY:?where images are: ghcr.io/owner/portcullis}"
    REGISTRY=${REGISTRY,,}
    if [ -n "${REGISTRY_USER:-}" ]; then
        skopeo login --tls-verify="$TLS" --username "$REGISTRY_USER" --password-stdin "${REGISTRY%%/*}" <<<"${REGISTRY_PASSWORD:?}"
    fi
}

images() {
    printf '%s\n' "$(tag)" "$(tag)-artifact" "$(tag)-kong" "$(tag)-attestations"
}

push() {
    local layout tag
    registry
    for layout in release/oci/*/; do
        layout=${layout%/}
        for tag in $(images); do
            copy "oci:$layout:$tag" "docker://$REGISTRY/$(basename "$layout"):$tag"
        done
        say "pushed $REGISTRY/$(basename "$layout"):$(tag), and its variants"
    done
}

# Into release/signed, if all of it is trusted: what is there is what was in the images.
pull() {
    local filter tag manifest
    registry
    rm -rf release
    mkdir -p release/pulled
    for manifest in filters/*/Cargo.toml; do
        grep -q cdylib "$manifest" || continue
        filter=$(basename "$(dirname "$manifest")")
        filter=${filter//-/_}
        for tag in $(images); do
            copy "docker://$REGISTRY/$filter:$tag" "oci:release/pulled/$filter:$tag"
        done
    done
    portcullis verify release/pulled/*/ --policy "$POLICY" --environment "$ENVIRONMENT" --with-provenance --extract release/signed
    mkdir -p release/sbom
    mv release/signed/*.cdx.json release/sbom/
    mv release/signed/provenance.json release/provenance.json
    sums
}

promote() {
    local key
    mapfile -t key < <(key)
    [ -z "${TICKET:-}" ] || key+=(--ticket "$TICKET")
    portcullis promote release/signed/*.wasm --policy "$POLICY" --to "$ENVIRONMENT" "${key[@]}" --out release/signed
    portcullis promote release/signed/kong/*.wasm --policy "$POLICY" --to "$ENVIRONMENT" "${key[@]}" --out release/signed/kong
    sums
}

case ${1:-} in
    sbom | sign | verify | package | push | pull | promote) "$1" ;;
    *) die "usage: release.sh sbom|sign|verify|package|push|pull|promote" ;;
esac
