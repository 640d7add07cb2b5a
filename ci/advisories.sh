#!/usr/bin/env bash
# Job: known vulnerabilities of dependencies. Needs the RustSec advisory database from the network. It runs each
# day and blocks no change: what it finds is there without the change too.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo xtask test advisories
