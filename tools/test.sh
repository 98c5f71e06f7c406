#!/usr/bin/env bash
# Runs test suites, all of them whatever fails, and ends with one line: N passed, N failed, N skipped. Before it stand the
# tests that passed at their second try (.config/nextest.toml says which may).
#
# usage: test.sh <suite>…
#   native    unit tests, and the cases of every filter in this process
#   wasm      unit tests of the policy crate and of every filter as WebAssembly, in Node
#   abi       what each built filter exports and imports
#   gateways  the cases in real gateways: every folder *-test with tests/cases.rs is one
#   kong      the cases in a real Kong; skipped, and counted as skipped, where there is none
#   coverage  with COVERAGE=1: how many lines native and gateways ran
#   new       a filter fresh from `make new`, through all of these
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
. tools/toolchain.sh

COVERAGE=${COVERAGE:-0}
logs=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
: >"$logs/flaky"

# sum <what> <file>: the sum of the numbers before any of these words.
sum() {
    { grep -oE "[0-9]+ ($1)" "$2" || true; } | awk '{ n += $1 } END { print n + 0 }'
}

# suite <name> <form of its result lines> <command>…: runs it and adds its counts. A command that
# fails without a failed test of its own (it did not compile, say), or has no test, is one failure.
suite() {
    local name=$1 form=$2 log=$logs/$1.log results=$logs/$1.results ok=1 p f s
    shift 2
    say "$name"
    "$@" 2>&1 | tee "$log" || ok=0
    sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E "$form|^ *FLAKY " >"$results" || true
    grep -E '^ *FLAKY ' "$results" >>"$logs/flaky" || true
    p=$(sum 'passed' "$results")
    f=$(sum 'failed|timed out|exec failed' "$results")
    s=$(sum 'skipped|ignored' "$results")
    if [ "$f" = 0 ] && { [ "$ok" = 0 ] || [ $((p + s)) = 0 ]; }; then
        printf '%s did not pass (%s tests had)\n' "$name" "$p"
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# One build serves all suites: packages are chosen by filter, never by -p.
nextest() {
    if [ "$COVERAGE" = 1 ]; then
        cargo llvm-cov nextest --no-report --locked --workspace --cargo-profile ci --profile ci "$@"
    else
        cargo nextest run --locked --workspace --cargo-profile ci --profile ci "$@"
    fi
}

gateways() {
    local cases
    for cases in *-test/tests/cases.rs; do
        echo "${cases%%/*}"
    done
}

native() {
    local gateway filter='all() - binary(kong)'
    for gateway in $(gateways); do
        filter="$filter - package($gateway)"
    done
    # Some compute, some wait.
    nextest --test-threads "$(($(nproc) * 3 / 2))" -E "$filter"
}

# In one process, which the cases share a running Kong in: it takes seconds to start.
kong() {
    if [ "$COVERAGE" = 1 ]; then
        # The same build as the other suites'.
        cargo llvm-cov test --no-report --locked --workspace --profile ci --test kong
    else
        cargo test --locked --workspace --profile ci --test kong
    fi
}

# The crates whose tests run as WebAssembly: those that say so, and no filter is left out.
wasm_crates() {
    local manifest
    for manifest in shared/*/Cargo.toml filters/*/Cargo.toml; do
        if grep -q '^wasm-bindgen-test' "$manifest"; then
            basename "$(dirname "$manifest")"
        elif grep -q cdylib "$manifest"; then
            echo "$manifest lacks wasm-bindgen-test: its tests cannot run as WebAssembly" >&2
            return 1
        fi
    done
}

wasm() {
    local crates with_tests status=0
    mapfile -t crates < <(wasm_crates)
    wasm_crates >/dev/null || return 1
    choose_toolchain wasm32-unknown-unknown
    env "${wasm_env[@]}" CARGO_TARGET_DIR="$wasm_target_dir" RUSTFLAGS="$wasm_rustflags" \
        "$wasm_cargo" test "${wasm_flags[@]}" --locked --profile ci --no-fail-fast \
        --target wasm32-unknown-unknown --lib "${crates[@]/#/--package=}" 2>&1 |
        tee "$logs/wasm.crates" || status=$?
    with_tests=$(grep -cE '^test result: .* [1-9][0-9]* passed' "$logs/wasm.crates" || true)
    if [ "$with_tests" -lt ${#crates[@]} ]; then
        echo "only $with_tests of these crates had a test that passed: ${crates[*]}"
        status=1
    fi
    return "$status"
}

coverage() {
    cargo llvm-cov report --profile ci --fail-under-lines 80 \
        --ignore-filename-regex '(^|/)([a-z]+-test|redis-proxy|observe|[a-z]*bench)/' &&
        echo "coverage: 1 passed"
}

summary='^ *Summary \['
[ "$COVERAGE" != 1 ] || cargo llvm-cov clean --workspace --profraw-only
for suite in "$@"; do
    case $suite in
        native) suite native "$summary" native ;;
        wasm) suite wasm '^test result: ' wasm ;;
        abi) suite abi '^abi: ' node tools/abi.mjs check ;;
        gateways)
            # Most of a case's time is waiting, for its gateway and for what the case waits for.
            for gateway in $(gateways); do
                suite "$gateway" "$summary" nextest --test-threads "$(($(nproc) * 2))" -E "package($gateway)"
            done
            ;;
        kong) suite kong '^test result: ' kong ;;
        new) suite new '^new: ' tools/new-test.sh ;;
        coverage) [ "$COVERAGE" != 1 ] || suite coverage '^coverage: ' coverage ;;
        *) die "no such suite: $suite" ;;
    esac
done

[ ! -s "$logs/flaky" ] || printf '\npassed at the second try:\n%s\n' "$(sort -u "$logs/flaky")"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
