#!/usr/bin/env bash
# Job: our controller and upstream's, measured side by side at a size that tells whether something went wrong. Nothing else should
# run on the machine. Takes the arguments of `cargo xtask bench`; table, figures and curves are in target/bench.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target/bench
exec cargo xtask bench --sizes 100x10 --out target/bench --fresh "$@"
