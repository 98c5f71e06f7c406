#!/usr/bin/env bash
# Registration entries of the workloads in these examples, for SPIRE on Kubernetes.
#
# usage: entries.sh [apply]     without `apply` the commands are only printed
#   TRUST_DOMAIN   prod.example
#   PARENT         the agents: spiffe://$TRUST_DOMAIN/spire/agent/nodes
set -euo pipefail
domain=${TRUST_DOMAIN:-prod.example}
parent=${PARENT:-spiffe://$domain/spire/agent/nodes}

# entry <namespace> <service account> [argument]…
entry() {
    local namespace=$1 account=$2
    shift 2
    local command=(spire-server entry create -parentID "$parent" -spiffeID "spiffe://$domain/ns/$namespace/sa/$account"
        -selector "k8s:ns:$namespace" -selector "k8s:sa:$account" -x509SVIDTTL 3600 "$@")
    if [ "$mode" = apply ]; then
        "${command[@]}"
    else
        printf '%q ' "${command[@]}"
        echo
    fi
}

mode=${1:-print}
entry edge gateway
entry webhooks dispatcher
entry compliance engine -dns compliance.internal
entry regulator portal
entry cbc bridge
