#!/usr/bin/env bash
# Builds every filter of the committed sources in two clones, in two folders with a CARGO_HOME of their own, and
# refuses if one byte differs. Or compares one clone's build with what a release says of itself.
#
# usage: reproducible.sh                     two clones against each other
#        reproducible.sh <provenance.json>   one clone against the digests in there, if the toolchain is the same
# Exit code 1: they differ. 2: they cannot be compared, because the toolchains differ.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

release=${1:-}
[ -z "$release" ] || release=$(realpath "$release")
source=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# clone <folder>: this commit, and a CARGO_HOME with the crates that were fetched already.
clone() {
    local home="$1.cargo" from=${CARGO_HOME:-$HOME/.cargo} part
    git -c advice.detachedHead=false clone --quiet --no-local "$source" "$1"
    mkdir -p "$home/registry"
    for part in index cache; do
        [ ! -d "$from/registry/$part" ] || cp -a "$from/registry/$part" "$home/registry/"
    done
    for part in config.toml config credentials.toml; do
        [ ! -f "$from/$part" ] || cp -a "$from/$part" "$home/"
    done
}

# build <folder>: prints nothing but what goes wrong.
build() {
    say "building in $1"
    (
        cd "$1"
        export CARGO_HOME="$1.cargo" CARGO_TARGET_DIR="$1.target"
        tools/wasm.sh >build.log 2>&1 || { cat build.log >&2 && die "no build in $1"; }
    )
}

# digests <folder>: <sha256> <file of dist/>, sorted.
digests() {
    (cd "$1/dist" && find . -name '*.wasm' -printf '%P\n' | sort | xargs sha256sum)
}

one=$work/one
clone "$one"
commit=$(git -C "$one" rev-parse HEAD)
if [ -n "$release" ]; then
    node tools/release-digests.mjs toolchain "$release" >"$work/theirs.toolchain"
    (cd "$one" && tools/wasm.sh --toolchain) >"$work/ours.toolchain"
    if ! diff --label release --label "this machine" -u "$work/theirs.toolchain" "$work/ours.toolchain"; then
        echo "not comparable: another toolchain may well give other bytes" >&2
        exit 2
    fi
    node tools/release-digests.mjs commit "$release" | grep -qxF "$commit" ||
        die "the release is of another commit than $commit: check that one out first"
    build "$one"
    node tools/release-digests.mjs digests "$release" >"$work/theirs"
    digests "$one" >"$work/ours"
else
    two="$work/quite another folder/two"
    mkdir -p "$(dirname "$two")"
    clone "$two"
    build "$one"
    build "$two"
    digests "$one" >"$work/theirs"
    digests "$two" >"$work/ours"
fi
[ -s "$work/ours" ] || die "nothing was built"
diff -u "$work/theirs" "$work/ours" || die "not the same bytes"
cat "$work/ours"
echo "reproducible: $(wc -l <"$work/ours") modules of commit $commit"
