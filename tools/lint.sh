#!/usr/bin/env bash
# Everything that can be said about the sources without running them.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
. tools/toolchain.sh

say "format"
cargo fmt --all --check
find tools/new-filter -name '*.rs' -exec rustfmt --edition 2024 --check {} +

say "names and borders"
problems=$(mktemp)
trap 'rm -f "$problems"' EXIT
# found <what is wrong> <command that prints what it found>…
found() {
    local why=$1 lines
    shift
    lines=$("$@" || true)
    [ -z "$lines" ] || printf '%s:\n%s\n' "$why" "$lines" | tee -a "$problems" >&2
}
tracked() {
    git ls-files --cached --others --exclude-standard "$@"
}
banned_names() {
    tracked | grep -E '(^|/)(utils?|common|helpers?|managers?|misc)(\.[a-z]+)?(/|$)'
}
raw_abi() {
    tracked '*.rs' '*/Cargo.toml' | grep -v '^shared/host/' | xargs -r grep -nE \
        'proxy[-_]wasm *[:=]|proxy[-_]wasm::|wasm_import_module|extern "C"|fn proxy_on_'
}
machine_paths() {
    tracked | grep -vE '^(Cargo.lock|LICENSE)$' | xargs -r grep -InE '(^|[^A-Za-z0-9_.*~}/-])/(root|Users|home/[a-z]+)/[A-Za-z.]'
}
incomplete_filters() {
    local filter file
    for filter in filters/*/Cargo.toml; do
        for file in src/lib.rs src/config.rs cases.toml tests/cases.rs abi.txt README.md; do
            [ -e "${filter%/Cargo.toml}/$file" ] || echo "${filter%/Cargo.toml}/$file"
        done
    done
}
found "names that say nothing" banned_names
found "the Proxy-Wasm ABI outside of shared/host" raw_abi
found "paths of one machine" machine_paths
found "filters without a file they need" incomplete_filters
[ ! -s "$problems" ] || die "see above"

say "shell scripts"
shellcheck -x tools/*.sh .ci/run

say "clippy"
cargo clippy --locked --workspace --all-targets -- -D warnings

say "clippy of what runs in the gateway"
wasm_crates=(--package=host)
for manifest in filters/*/Cargo.toml; do
    wasm_crates+=("--package=$(basename "$(dirname "$manifest")")")
done
if rustup_has wasm32-wasip1; then
    cargo clippy --locked --target wasm32-wasip1 --lib "${wasm_crates[@]}" -- -D warnings
else
    echo "skipped: this compiler has no wasm32-wasip1, and Debian's has no clippy"
fi

say "licences, bans, sources"
cargo deny --locked --log-level error check licenses bans sources
