#!/usr/bin/env bash
# A whole release on this machine, from a clean clone of this commit: keys of its own, a registry of its own, the
# targets that the release workflow calls. Ends with images for production, pulled and verified, and with proof that
# a module with one changed byte is refused. Nothing is left but what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
root=$PWD
work=$(mktemp -d)
registry=
cleanup() {
    [ -z "$registry" ] || kill "$registry" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

say "a clean clone"
git -c advice.detachedHead=false clone --quiet --no-local "$root" "$work/clone"
mkdir -p "$work/clone/.tools"
cp -a "$root/.tools/." "$work/clone/.tools/"
cd "$work/clone"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}

say "keys and a registry"
cp -r ops/release "$work/policy"
mkdir -p "$work/policy/keys"
for role in build staging production; do
    cargo run --quiet --locked --profile ci --package portcullis-cli --bin portcullis -- keygen "$work/policy/keys/$role"
done
port=$(node -e 'const s = require("net").createServer(); s.listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
cat >"$work/registry.yml" <<YML
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $work/registry } }
http: { addr: 127.0.0.1:$port }
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    sleep 0.1
done

export POLICY=$work/policy/policy.toml REGISTRY=127.0.0.1:$port/portcullis TLS=false
export SOURCE="git+https://example.com/portcullis" BUILDER=urn:portcullis:builder:dry-run
step() {
    say "make $*"
    make --no-print-directory "$@"
}
step release-build
step release-sbom
KEY=$work/policy/keys/build.key step release-sign
step release-verify
step release-package
step release-push
for environment in staging production; do
    before=$([ "$environment" = staging ] && echo dev || echo staging)
    ENVIRONMENT=$before step release-pull
    KEY_ENV=APPROVER APPROVER=$(cat "$work/policy/keys/$environment.key") ENVIRONMENT=$environment TICKET=DRY-RUN step release-promote
    ENVIRONMENT=$environment step release-verify
    ENVIRONMENT=$environment step release-package
    ENVIRONMENT=$environment step release-push
done
ENVIRONMENT=production step release-pull

say "one changed byte"
for module in release/signed/*.wasm release/signed/kong/*.wasm; do
    cp "$module" "$work/good"
    node -e 'const fs = require("fs"), f = process.argv[1], b = fs.readFileSync(f); b[b.length >> 1] ^= 1; fs.writeFileSync(f, b)' "$module"
    ! ENVIRONMENT=production tools/release.sh verify >"$work/refused" 2>&1 || die "$module was changed, and is trusted"
    grep -q REFUSED "$work/refused" || { cat "$work/refused" >&2 && die "it failed otherwise"; }
    cp "$work/good" "$module"
done
ENVIRONMENT=production tools/release.sh verify >/dev/null
say "the release of $(git rev-parse --short HEAD) is in a registry, signed for production, pulled and verified"
cat release/SHA256SUMS
