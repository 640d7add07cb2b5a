#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks: Debian packages and components of the toolchain.
set -euo pipefail

packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }
need bwrap bubblewrap
need cc build-essential
need curl curl
need docker-registry docker-registry
need git git
need go golang-go
need ps procps
need python3 python3
need skopeo skopeo
need umoci umoci
# Debian's Python has venv in a package of its own.
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

if [ ${#packages[@]} -gt 0 ]; then
    echo "installing ${packages[*]}" >&2
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
fi

for component in rustfmt clippy; do
    if ! cargo "${component/rust/}" --version >/dev/null 2>&1; then
        rustup component add "$component" >&2
    fi
done
