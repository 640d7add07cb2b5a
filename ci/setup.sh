#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks: Debian packages and components of the toolchain.
# With the argument `openstack`, also what OpenStack's own services need; none of it is left running or enabled.
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
servers=()
if [ "${1:-}" = openstack ]; then
    PATH=$PATH:/usr/sbin:/usr/lib/rabbitmq/bin
    need openssl openssl
    need mariadbd mariadb-server-core
    need my_print_defaults mariadb-client-core
    need rabbitmq-server rabbitmq-server
    # Debian enables these for the next start of the machine, and starts them at once unless a policy forbids it.
    case " ${packages[*]} " in *" rabbitmq-server "*) servers=(rabbitmq-server.service epmd.service epmd.socket) ;; esac
fi

if [ ${#packages[@]} -gt 0 ]; then
    echo "installing ${packages[*]}" >&2
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -q >&2
    policy=/usr/sbin/policy-rc.d
    if [ ${#servers[@]} -gt 0 ] && [ ! -e $policy ]; then
        trap '"${as_root[@]}" rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin $policy
    fi
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
    if [ ${#servers[@]} -gt 0 ] && command -v systemctl >/dev/null; then
        "${as_root[@]}" systemctl disable -q "${servers[@]}" >&2
    fi
fi

for component in rustfmt clippy; do
    if ! cargo "${component/rust/}" --version >/dev/null 2>&1; then
        rustup component add "$component" >&2
    fi
done
