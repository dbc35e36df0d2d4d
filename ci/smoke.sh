#!/usr/bin/env bash
# The measuring programs, once each and short: that they work, not what they measure.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo run --release --example job_server -- --quick
cargo bench --bench throughput -- --test
cargo bench --bench fragmentation -- --test
