#!/usr/bin/env bash
# Replaces the files of a folder all at once, so that nobody ever reads a certificate with another one's key. As
# Kubernetes does with mounted secrets: the files are links through `..data`, and `..data` is moved into place.
#
# usage: put-secret.sh <folder> <file>…       put-secret.sh /etc/envoy/svid new/tls.crt new/tls.key
set -euo pipefail
folder=${1:?usage: put-secret.sh <folder> <file>…}
shift
[ $# -gt 0 ] || { echo "put-secret.sh: no file is named" >&2 && exit 2; }
for file in "$@"; do
    [ -s "$file" ] || { echo "put-secret.sh: $file is empty or not there; nothing was changed" >&2 && exit 1; }
done
umask 077
mkdir -p "$folder"
version=$(mktemp -d "$folder/..v.XXXXXXXX")
cp -- "$@" "$version/"
before=$(readlink "$folder/..data" || true)
ln -s "$(basename "$version")" "$version.link"
mv -T "$version.link" "$folder/..data"
for file in "$@"; do
    ln -sfn "..data/$(basename "$file")" "$folder/$(basename "$file")"
done
# Whoever has the old files open reads on.
[ -z "$before" ] || rm -rf "${folder:?}/$before"
