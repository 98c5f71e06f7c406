#!/usr/bin/env bash
# Everything that can be said about the sources without running them. All parts run, whatever fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
. tools/toolchain.sh

failed=()
# part <name> <command>…
part() {
    local name=$1
    shift
    say "$name"
    "$@" || failed+=("$name")
}

# absent <why> <command that prints what is wrong>…
absent() {
    local lines
    lines=$("${@:2}" || true)
    [ -z "$lines" ] || { printf '%s:\n%s\n' "$1" "$lines" && return 1; }
}

# Files of this tree, also those not committed yet.
files() {
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
}

format() {
    cargo fmt --all --check
    files 'tools/new-filter/*.rs' | xargs rustfmt --edition 2024 --check
}

banned_names() {
    files | grep -E '(^|/)(utils?|common|helpers?|managers?|misc)(\.[a-z]+)?(/|$)'
}

raw_abi() {
    files '*.rs' '*/Cargo.toml' | grep -v '^shared/host/' | xargs grep -nE \
        '^ *proxy-wasm|proxy_wasm|wasm_import_module|extern "C"|fn proxy_on_'
}

machine_paths() {
    files | grep -vE '^(Cargo\.lock|LICENSE)$' |
        xargs grep -InE '(^|[[:space:]"'\''`=:(])/(root|Users|home/[a-z]+)/[A-Za-z.]'
}

missing_files() {
    local filter file
    for filter in filters/*/Cargo.toml; do
        filter=${filter%/Cargo.toml}
        for file in src/lib.rs src/config.rs tests/cases.rs cases.toml abi.txt meta.json README.md; do
            # A chain has no options beside those of its links.
            [ "$file" != src/config.rs ] || ! grep -q 'path = "\.\./' "$filter/Cargo.toml" || continue
            [ -e "$filter/$file" ] || echo "$filter/$file is missing"
        done
        grep -q '^\[\[case\]\]' "$filter/cases.toml" || echo "$filter/cases.toml has no case"
    done
}

gateway_clippy() {
    if ! rustup_has wasm32-wasip1; then
        echo "skipped: this compiler has no wasm32-wasip1, and Debian's has no clippy"
        return
    fi
    local manifest packages=(--package=host)
    for manifest in filters/*/Cargo.toml; do
        packages+=("--package=$(basename "$(dirname "$manifest")")")
    done
    cargo clippy --locked --profile ci --target wasm32-wasip1 --lib "${packages[@]}" -- -D warnings
}

# What workflows call has to be a target that runs on any machine.
workflow_targets() {
    local target
    grep -ohE 'run: make [a-z-]+' .github/workflows/*.yml | sed 's/.* //' | sort -u | while read -r target; do
        make --dry-run --no-print-directory "$target" >/dev/null 2>&1 || echo "make $target"
    done
}

part "format" format
part "names" absent "names that say nothing" banned_names
part "borders" absent "the Proxy-Wasm ABI outside of shared/host" raw_abi
part "paths" absent "paths of one machine" machine_paths
part "filters" absent "filters lack what they need" missing_files
part "workflows" absent "workflows call targets that are not there" workflow_targets
part "shell" shellcheck -x tools/*.sh .ci/run
part "clippy" cargo clippy --locked --profile ci --workspace --all-targets -- -D warnings
part "clippy of what runs in a gateway" gateway_clippy
part "licences, bans, sources" cargo deny --locked --log-level warn check licenses bans sources

[ ${#failed[@]} = 0 ] || die "not clean: $(printf '%s; ' "${failed[@]}")"
