#!/usr/bin/env bash
# Builds every filter: the same bytes from the same sources in any folder.
#
#   dist/<name>.wasm       without the callbacks that do nothing, for Envoy
#   dist/kong/<name>.wasm  the same code with them, for Kong, which dies where one is missing
#
# usage: wasm.sh [filter]…
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
. tools/toolchain.sh
choose_toolchain wasm32-wasip1

# Only what Envoy's V8 and Kong's wasmtime both have switched on.
optimise=(-O3 --enable-bulk-memory --enable-sign-ext --enable-nontrapping-float-to-int
    --enable-mutable-globals --enable-multivalue --enable-reference-types --enable-simd)

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
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
env "${wasm_env[@]}" CARGO_TARGET_DIR="$wasm_target_dir" \
    RUSTFLAGS="$wasm_rustflags --remap-path-prefix=$registry=/cargo --remap-path-prefix=$PWD=/src" \
    "$wasm_cargo" build "${wasm_flags[@]}" --locked --profile wasm --target wasm32-wasip1 --lib \
    "${filters[@]/#/--package=}"

mkdir -p dist/kong
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
    printf '%9s bytes  dist/%s.wasm\n' "$(stat -c %s "dist/$name.wasm")" "$name"
done
