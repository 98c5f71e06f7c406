#!/usr/bin/env bash
# Builds every filter: the same bytes from the same sources in any folder.
#
#   dist/<name>.wasm       without the callbacks that do nothing, for Envoy
#   dist/kong/<name>.wasm  the same code with them, for Kong, which dies where one is missing
#   dist/<name>.meta.json, dist/kong/<name>.meta.json
#                          what Kong reads about it: which configurations it takes, and its labels
#
#   dist/toolchain.txt     what built them; another toolchain may well give other bytes
#
# usage: wasm.sh [filter]…
#        wasm.sh --toolchain   prints what would go into dist/toolchain.txt
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
. tools/toolchain.sh
choose_toolchain wasm32-wasip1

# Only what Envoy's V8 and Kong's wasmtime both have switched on. Nothing lives in the lowest KiB of memory: it
# is the far end of the stack, which the linker puts first; so offsets can move into loads and stores.
optimise=(-O3 --low-memory-unused --enable-bulk-memory --enable-sign-ext --enable-nontrapping-float-to-int
    --enable-mutable-globals --enable-multivalue --enable-reference-types --enable-simd)

# What the bytes depend on, beside the sources.
toolchain() {
    local rustc=rustc
    [ "$wasm_toolchain" = rustup ] || rustc=/usr/bin/rustc
    echo "compiler: $wasm_toolchain"
    "$rustc" --version --verbose | sed -n 's/^rustc /rustc: /p; /^\(commit-hash\|host\|LLVM version\): /p'
    echo "wasm-opt: $(wasm-opt --version)"
}
if [ "${1:-}" = --toolchain ]; then
    toolchain
    exit
fi

filters=("$@")
if [ $# = 0 ]; then
    for manifest in filters/*/Cargo.toml; do
        if grep -q cdylib "$manifest"; then
            filters+=("$(basename "$(dirname "$manifest")")")
        fi
    done
fi
[ ${#filters[@]} -gt 0 ] || die "no filter in filters/"

say "building for the gateways: ${filters[*]}, with the compiler of $wasm_toolchain"
read -ra rustflags <<<"$wasm_rustflags"
rustflags+=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/cargo" "--remap-path-prefix=$PWD=/src")
# Filters, and those that are chains of filters, apart: in one build, cargo would give the links of a chain the
# callbacks of a module too.
singles=() chains=()
for filter in "${filters[@]}"; do
    if grep -q 'path = "\.\./' "filters/$filter/Cargo.toml"; then
        chains+=("--package=$filter")
    else
        singles+=("--package=$filter")
    fi
done
build() {
    [ $# -gt 0 ] || return 0
    # Encoded, because a path may hold spaces.
    env "${wasm_env[@]}" CARGO_TARGET_DIR="$wasm_target_dir" \
        CARGO_ENCODED_RUSTFLAGS="$(IFS=$'\x1f' && echo "${rustflags[*]}")" \
        "$wasm_cargo" build "${wasm_flags[@]}" --locked --profile wasm --target wasm32-wasip1 --lib "$@"
}
build "${singles[@]}"
build "${chains[@]}"

mkdir -p dist/kong
toolchain >dist/toolchain.txt
for filter in "${filters[@]}"; do
    name=${filter//-/_}
    built=$wasm_target_dir/wasm32-wasip1/wasm/$name.wasm
    made_of="$(cat "$built" tools/wasm.sh tools/lean.mjs | sha256sum) $(wasm-opt --version)"
    stamp=$wasm_target_dir/wasm32-wasip1/wasm/$name.stamp
    outputs=("dist/$name.wasm" "dist/kong/$name.wasm")
    if [ "$made_of $(sha256sum "${outputs[@]}" 2>/dev/null)" != "$(cat "$stamp" 2>/dev/null)" ]; then
        wasm-opt "${optimise[@]}" "$built" -o "dist/kong/$name.wasm"
        node tools/lean.mjs "dist/kong/$name.wasm" "dist/$name.wasm"
        echo "$made_of $(sha256sum "${outputs[@]}")" >"$stamp"
    fi
    cp "filters/$filter/meta.json" "dist/$name.meta.json"
    cp "filters/$filter/meta.json" "dist/kong/$name.meta.json"
    printf '%9s bytes  dist/%s.wasm\n' "$(stat -c %s "dist/$name.wasm")" "$name"
done
