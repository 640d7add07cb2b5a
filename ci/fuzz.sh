#!/usr/bin/env bash
# Job: the property tests on random input, on stable Rust, with many more cases than each change gets. FUZZ_CASES says how many.
# A failure prints the smallest input that shows it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PROPTEST_CASES=${FUZZ_CASES:-20000}
exec cargo test --workspace --lib --test properties --no-fail-fast
