#!/usr/bin/env bash
# Job: everything that a change must pass. Takes the arguments of `cargo xtask test`.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo xtask test "$@"
