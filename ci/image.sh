#!/usr/bin/env bash
# Job: an image that serves a cluster, for each of the clouds that are named (memory, aws, openstack; without a name memory, whose
# program is small). A release build with an SDK takes half an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- memory
args=()
for cloud in "$@"; do args+=(--image "$cloud"); done
exec cargo xtask test image "${args[@]}"
