# shellcheck shell=bash
# Sourced: how scripts talk, and how they get root for apt.

say() {
    printf '\n==> %s\n' "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_install() {
    command -v apt-get >/dev/null || die "these Debian packages are needed, and there is no apt here: $*"
    if [ "$(id -u)" != 0 ] && ! { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; then
        die "Debian packages are missing and this user is neither root nor allowed to sudo. Run as root: apt-get install --no-install-recommends $*"
    fi
    say "installing with apt: $*"
    as_root apt-get -qq update -o DPkg::Lock::Timeout=300
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}
