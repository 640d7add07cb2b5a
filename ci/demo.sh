#!/usr/bin/env bash
# Job: the demo at the size that the figures in the README are from. The last line of standard output is the summary.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo xtask demo --release --nodes 1000 --services 20 --latency 50ms --json "$@"
