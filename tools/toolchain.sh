# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are for who sources this
# Sourced, after say.sh: which compiler builds WebAssembly.
#
# It is rustup's stable. Where rustup cannot fetch the standard library for the target (an air-gapped
# network with package mirrors only), it is Debian's own rustc, which builds the standard library from
# its source package. WASM_TOOLCHAIN=rustup or =debian forces one.

DEBIAN_RUST=(rustc-web cargo-web rust-web-src wasi-libc lld)

rustup_has() {
    compgen -G "$(rustc --print target-libdir --target "$1" 2>/dev/null)/libstd-*.rlib" >/dev/null
}

# choose_toolchain <target>: installs what is missing, prints nothing, sets
#   wasm_toolchain  rustup or debian
#   wasm_cargo      the command; wasm_env: assignments for env(1); wasm_flags: options for cargo build
choose_toolchain() {
    local target=$1
    wasm_toolchain=${WASM_TOOLCHAIN:-}
    if [ -z "$wasm_toolchain" ]; then
        if rustup_has "$target" || timeout 300 rustup target add "$target" >&2; then
            wasm_toolchain=rustup
        else
            say "rustup could not fetch $target: taking Debian's compiler"
            wasm_toolchain=debian
        fi
    fi
    case $wasm_toolchain in
        rustup)
            rustup_has "$target" || rustup target add "$target" >&2 || die "rustup could not fetch $target"
            wasm_cargo=cargo
            wasm_env=()
            wasm_flags=()
            wasm_target_dir=${CARGO_TARGET_DIR:-$PWD/target}
            wasm_rustflags=""
            ;;
        debian)
            dpkg --status "${DEBIAN_RUST[@]}" >/dev/null 2>&1 || apt_install "${DEBIAN_RUST[@]}"
            local linker=CARGO_TARGET_${target^^}_LINKER
            wasm_cargo=/usr/bin/cargo
            wasm_target_dir=${CARGO_TARGET_DIR:-$PWD/target}/debian
            wasm_env=(RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc "${linker//-/_}=wasm-ld")
            wasm_flags=("-Zbuild-std=std,panic_abort")
            wasm_rustflags="-L /usr/lib/wasm32-wasi"
            ;;
        *) die "WASM_TOOLCHAIN is rustup or debian, not $wasm_toolchain" ;;
    esac
}
