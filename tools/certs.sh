#!/usr/bin/env bash
# Makes a certificate authority for tests on this machine, and certificates of it. Not for production: the
# authority's key lies next to them. Does nothing while those that are there are good for another week.
#
# usage: certs.sh [folder]      in the repository, or absolute; default: certs
#   ca.pem        the authority
#   server.pem    redis-proxy, as localhost, 127.0.0.1 and ::1
#   soc.pem       a client: spiffe://portcullis.local/soc
#   tool.pem      a client known by its common name: portcullis-tool
#   guest.pem     a client that is not listed: spiffe://portcullis.local/guest
#   expired.pem   as soc.pem, until 2020
# Each has its key next to it, with .key instead of .pem.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

folder=${1:-certs}
if openssl x509 -checkend 604800 -noout -in "$folder/soc.pem" >/dev/null 2>&1; then
    say "$folder is there"
    exit
fi
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"
touch "$work/index"

cat >"$work/ca.cnf" <<CNF
[ca]
default_ca = own
[own]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = optional
[req]
distinguished_name = none
[none]
CNF

# quiet <command>…: what it says is shown only if it fails.
quiet() {
    "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && die "openssl failed"; }
}

key() {
    quiet openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

# issue <name> <use> <alternative names> <common name, or nothing> [argument of openssl ca]…
issue() {
    local name=$1 use=$2 names=$3 common=$4
    shift 4
    key "$work/$name.key"
    printf '[v3]\nbasicConstraints = CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = %s\n' \
        "$use" >"$work/$name.cnf"
    [ -z "$names" ] || printf 'subjectAltName = %s\n' "$names" >>"$work/$name.cnf"
    quiet openssl req -new -config "$work/ca.cnf" -key "$work/$name.key" -subj "${common:+/CN=$common}/" \
        -out "$work/$name.csr"
    quiet openssl ca -batch -notext -config "$work/ca.cnf" -cert "$work/ca.pem" -keyfile "$work/ca.key" \
        -extfile "$work/$name.cnf" -extensions v3 -in "$work/$name.csr" -out "$work/$name.pem" "$@"
}

key "$work/ca.key"
quiet openssl req -x509 -new -config "$work/ca.cnf" -key "$work/ca.key" -days 365 \
    -subj '/CN=Portcullis test authority' -addext 'basicConstraints = critical, CA:TRUE' \
    -addext 'keyUsage = critical, keyCertSign, cRLSign' -addext 'subjectKeyIdentifier = hash' -out "$work/ca.pem"

year=(-days 364)
over=(-startdate 20190101000000Z -enddate 20200101000000Z)
issue server serverAuth 'DNS:localhost, IP:127.0.0.1, IP:::1' localhost "${year[@]}"
issue soc clientAuth 'URI:spiffe://portcullis.local/soc' '' "${year[@]}"
issue tool clientAuth '' portcullis-tool "${year[@]}"
issue guest clientAuth 'URI:spiffe://portcullis.local/guest' '' "${year[@]}"
issue expired clientAuth 'URI:spiffe://portcullis.local/soc' '' "${over[@]}"

# soc.pem comes last: it says that all are there.
for name in ca server tool guest expired soc; do
    mv "$work/$name.key" "$work/$name.pem" "$folder/"
done
say "certificates in $folder"
