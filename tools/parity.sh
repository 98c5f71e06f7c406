#!/usr/bin/env bash
# Runs every case in this process, in Envoy and in Kong, and reports in what the answers, what the upstream saw
# and what was counted differ. Fails for what ARCHITECTURE.md gives no reason for, and where a gateway is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# A case that fails shows what it saw all the same; that it fails is for `make test` to say.
PORTCULLIS_TRANSCRIPTS=$folder tools/test.sh native gateways kong || true
say "parity"
cargo run --quiet --locked --profile ci --package kong-test --bin parity -- "$folder"
