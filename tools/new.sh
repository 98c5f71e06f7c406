#!/usr/bin/env bash
# Writes a new filter from the template, complete: it builds, passes its tests and runs in Envoy.
#
# usage: new.sh <name>
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh

name=${1:-}
[ -n "$name" ] || die "give it a name: make new NAME=my-filter"
[[ $name =~ ^[a-z][a-z0-9]*(-[a-z0-9]+)*$ && ${#name} -le 40 ]] ||
    die "'$name' is no name for a filter: lower-case words joined by '-', such as rate-limit, at most 40 characters"
case $name in
    util | utils | common | helper | helpers | manager | managers | misc)
        die "'$name' says nothing: name the filter after what it is for"
        ;;
    test | core | std | alloc | self | super | crate | type | match | move | loop | where | static | final | abstract | virtual | macro | override | yield | try | async | await | dyn | enum | extern | false | true | struct | trait | unsafe | use | while | impl | in | let | mod | mut | pub | ref | return | const | continue | else | fn | for | if | as | box | break | do | gen | priv | typeof | unsized | become)
        die "'$name' is a word of Rust's own: choose another"
        ;;
esac
[ ! -e "filters/$name" ] || die "filters/$name exists"
snake=${name//-/_}
taken=$(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.lock | tr - _)
! grep -qx "$snake" <<<"$taken" || die "a crate named '$name' is already part of the build: choose another name"
camel=$(sed -E 's/(^|-)([a-z0-9])/\U\2/g' <<<"$name")

made=$(mktemp -d filters/.new.XXXXXX)
trap 'rm -rf "$made"' EXIT
cp -r tools/new-filter/. "$made"
find "$made" -type f -exec sed -i "s/new-filter/$name/g; s/new_filter/$snake/g; s/NewFilter/$camel/g" {} +
mv "$made" "filters/$name"
chmod 755 "filters/$name"
# So that `portcullis` can check its configurations.
sed -i "/^# The filters whose configurations/a $name = { path = \"../filters/$name\", features = [\"schema\"] }" cli/Cargo.toml
sed -i "/^filters! {/,/^}/ s/^}/    $snake\n}/" cli/src/filters.rs
cargo metadata --quiet --format-version 1 >/dev/null # so that Cargo.lock knows it
cargo fmt --package "$name"

cat <<EOF
filters/$name is there, and already works: make wasm && make test
  src/lib.rs     the decision        src/config.rs  the options
  cases.toml     its behaviour       README.md      for operators
EOF
