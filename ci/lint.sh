#!/usr/bin/env bash
# Job: what needs no test to run: formatting, the tree, clippy, each member alone, documentation.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo xtask test fmt tidy clippy alone doc
