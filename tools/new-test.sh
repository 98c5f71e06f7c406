#!/usr/bin/env bash
# Makes a filter from the template in a copy of this tree, with no edit elsewhere, and takes it
# through everything: native tests, WebAssembly, exports, Envoy. Needs what `make test` needs.
#
# usage: new-test.sh [update]   update: no tests, but writes the template's abi.txt
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

passed=0 failed=0
# check <what> <command>…
check() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        echo "failed: $what"
        failed=$((failed + 1))
    fi
}

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
copy=$target/new-test
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} find {} -maxdepth 0 -type f -print0 |
    xargs -0 cp --parents -t "$copy"
ln -s "$PWD/.tools" "$copy/.tools"
cd "$copy"
export CARGO_TARGET_DIR=$target

# As test.sh does, so that what it built of others' crates is not built again.
nextest() {
    if [ "${COVERAGE:-0}" = 1 ]; then
        cargo llvm-cov nextest --no-report --locked --cargo-profile ci --profile ci --package envoy-test "$@"
    else
        cargo nextest run --locked --cargo-profile ci --profile ci --package envoy-test "$@"
    fi
}

filter=gate-of-2-words
artifact=gate_of_2_words

if [ "${1:-}" = update ]; then
    root=$OLDPWD
    tools/new.sh "$filter" >/dev/null
    tools/wasm.sh "$filter"
    node tools/abi.mjs update
    cp "filters/$filter/abi.txt" "$root/tools/new-filter/abi.txt"
    exit
fi

refuses() {
    local before after
    before=$(ls -A filters)
    if tools/new.sh "$1" 2>refusal; then
        return 1
    fi
    after=$(ls -A filters)
    [ "$before" = "$after" ] && grep -q '^error: ' refusal
}
for bad in '' Auth auth 'a b' a_b a- -a 1a 'a/b' ../a util test serde match "$(printf 'a%.0s' {1..41})"; do
    check "refuses the name '$bad'" refuses "$bad"
done

# others: every file but the filter's own, and where `portcullis` is told of it.
others() {
    find . -path ./filters/$filter -prune -o -type f ! -name Cargo.lock ! -path ./cli/Cargo.toml ! -path ./cli/src/filters.rs -print0 | sort -z | xargs -0 sha256sum | sha256sum
}
before=$(others)
check "makes $filter" tools/new.sh "$filter"
after=$(others)
check "edits nothing else" [ "$before" = "$after" ]
check "tells portcullis of it" grep -qx "    $artifact" cli/src/filters.rs
check "is formatted" cargo fmt --check --package "$filter"
# And one that is built in the other folder: the same bytes (S1; all of them with `make reproducible`).
check "builds" tools/wasm.sh "$filter" edge-headers
check "builds the same bytes as in another folder" cmp "$OLDPWD/dist/edge_headers.wasm" dist/edge_headers.wasm
check "exports what its list says" node tools/abi.mjs check
check "passes its own tests" nextest --package "$filter" -E "package($filter)"
check "passes its cases in Envoy" nextest --package "$filter" -E "package(envoy-test) & test(/^$artifact::/)"
echo "new: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
