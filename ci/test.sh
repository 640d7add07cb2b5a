#!/usr/bin/env bash
# Job: everything that a change must pass. Takes the arguments of `cargo xtask test`.
set -euo pipefail
cd "$(dirname "$0")/.."
# The samples of the crash sweeps are drawn by the commit: another one for each, the same one whenever it is tested again.
if [ -z "${SWEEP_SEED:-}" ] && commit=$(git rev-parse HEAD 2>/dev/null); then
    export SWEEP_SEED=$((16#${commit:0:8}))
fi
exec cargo xtask test "$@"
