#!/usr/bin/env bash
# Job: every cloud that has scenarios beside upstream's controller. `--live` runs upstream's too, built from its Go module, and swaps
# the two; without it recorded results are taken. Takes the arguments of `cargo xtask compare`.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=()
for folder in cloud-provider-*/compare; do
    cloud=${folder#cloud-provider-}
    cargo xtask compare --cloud "${cloud%/compare}" "$@" || failed+=("${cloud%/compare}")
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "not equal: ${failed[*]}" >&2
    exit 1
fi
