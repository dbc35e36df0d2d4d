#!/usr/bin/env bash
# Formatting, lints and documentation; a warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
# Without the feature that the preload library turns on for the whole workspace.
cargo clippy --all-targets -- -D warnings
cargo clippy --package capmalloc --all-targets --all-features -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features capmalloc/allocator-api2
