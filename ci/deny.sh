#!/usr/bin/env bash
# Job: bans, licences and sources of dependencies alone, as deny.toml says.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo xtask test deny
