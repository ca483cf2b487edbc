#!/bin/sh
# Installs the Debian packages that building and running (packages.sh run) or testing
# (packages.sh test) needs and that are missing; does nothing when all are there.
set -eu

run='gcc libc6-dev cmake make pkg-config libexpat1-dev libjansson-dev libpcre2-dev libutf8proc-dev'
modules='expat jansson libpcre2-8 libutf8proc'

system=unknown
version=
if [ -r /etc/os-release ]; then
    system=$(. /etc/os-release && echo "$ID ${ID_LIKE:-}")
    version=$(. /etc/os-release && echo "${VERSION_ID:-}")
fi
case $system,$version in
debian*,12) sanitizers=libclang-rt-14-dev ;;
*) sanitizers=libclang-rt-dev ;;
esac
# libcurl4 and libarchive13 are opened at run time, never linked. The last three are for the Arm kernels:
# about 160 MB.
test="libcmocka-dev clang $sanitizers libcurl4 libarchive13 qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross"

case ${1:-} in
run) wanted=$run ;;
test) wanted="$run $test" modules="$modules cmocka" ;;
*) echo "usage: $0 run|test" >&2; exit 2 ;;
esac

# On another system the libraries are the user's to install.
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086
    if command -v cmake >/dev/null && pkg-config --exists $modules 2>/dev/null; then
        exit 0
    fi
    echo "This is not a Debian system. Install a C compiler, CMake 3.25 or newer, pkg-config and" >&2
    echo "the development files of these libraries (pkg-config names): $modules" >&2
    exit 1
fi

is_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}
missing=
for package in $wanted; do # from Debian 13 on some libraries are called otherwise, and stand in for these
    is_installed "$package" || is_installed "${package}t64" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

# A virtual or differently named package (pkg-config is provided by pkgconf) may do the work.
if [ "$missing" = " pkg-config" ] && command -v pkg-config >/dev/null; then exit 0; fi

sudo=
if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
command="apt-get install --yes --no-install-recommends$missing"
give_up() {
    echo "Cannot install packages here ($1). Run this as root and try again:" >&2
    echo "    apt-get update && $command" >&2
    exit 1
}

if [ -n "$sudo" ]; then
    command -v sudo >/dev/null || give_up "not root, and there is no sudo"
    # Without a terminal nobody can type a password.
    [ -t 0 ] || sudo -n true 2>/dev/null || give_up "not root, and sudo asks for a password"
fi

echo "Installing packages:$missing"
# shellcheck disable=SC2086
{
    $sudo apt-get update -qq >/dev/null || give_up "apt-get update failed"
    $sudo env DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null ||
        give_up "apt-get install failed"
}
