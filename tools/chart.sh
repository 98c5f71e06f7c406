#!/usr/bin/env bash
# The Helm chart as an archive, the same bytes each time: no Helm is needed to make it, and a test has Helm read it.
#
# usage: chart.sh <version> <folder>    prints where it is: <folder>/portcullis-<version>.tgz
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

version=${1:?the version of the release} folder=${2:?where the archive goes}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$folder"
cp -r ops/kubernetes/chart "$work/portcullis"
rm -r "$work/portcullis/ci" "$work/portcullis/.helmignore"
sed -i "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: \"$version\"/" "$work/portcullis/Chart.yaml"
find "$work" -type d -exec chmod 755 {} +
find "$work" -type f -exec chmod 644 {} +
archive=$folder/portcullis-$version.tgz
tar --create --directory "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar portcullis |
    gzip --no-name -9 >"$archive"
echo "$archive"
