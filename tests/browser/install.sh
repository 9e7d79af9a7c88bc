#!/bin/sh
# What the browser tests need: Node.js, Chromium (both through apt where that is possible) and the npm packages.
set -eu
cd "$(dirname "$0")"

missing=""
{ command -v node && command -v npm; } >/dev/null || missing="nodejs npm"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "The browser tests need: $missing (on Debian: apt-get install $missing)" >&2
        exit 1
    fi
    echo "installing $missing"
    apt-get -qq update
    # shellcheck disable=SC2086 -- a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --silent
    touch node_modules/.package-lock.json
fi
