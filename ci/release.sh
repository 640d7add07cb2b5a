#!/usr/bin/env bash
# Job: the release that a tag asks for, given as argument or in TAG: cloud-provider-openstack/v0.1.0.
# REGISTRY is registry and organisation; the image is REGISTRY/CLOUD-cloud-controller-manager, the chart is in REGISTRY/charts.
# COSIGN_KEY is the file with the key, or COSIGN_PRIVATE_KEY is its text; COSIGN_PASSWORD opens it.
# Credentials are those of `cargo xtask push`. Further arguments are those of `cargo xtask release`, such as --dry-run.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${TAG:-}
if [ -z "$tag" ]; then
    tag=${1:?which tag?}
    shift
fi
package=${tag%/v*}
cloud=${package#cloud-provider-}
if [ "cloud-provider-$cloud/v${tag##*/v}" != "$tag" ]; then
    echo "$tag is no tag of a release, which is cloud-provider-CLOUD/vX.Y.Z" >&2
    exit 1
fi
key=${COSIGN_KEY:-}
if [ -z "$key" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    key=$folder/cosign.key
    (umask 077 && printf '%s\n' "${COSIGN_PRIVATE_KEY:?neither COSIGN_KEY nor COSIGN_PRIVATE_KEY is set}" >"$key")
fi
unset COSIGN_PRIVATE_KEY
cargo xtask release --cloud "$cloud" --version "${tag##*/v}" --key "$key" \
    --to "${REGISTRY:?where to?}/$cloud-cloud-controller-manager" "$@"
