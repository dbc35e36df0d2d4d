#!/usr/bin/env bash
# The supervisor beside real programs: Prometheus scrapes a fleet, and the fleet's experiment runs once
# and short, optimised.
#
#   ci/supervisor.sh               both
#   ci/supervisor.sh prometheus    the one
#   ci/supervisor.sh experiment    the other
#
# Prometheus comes from Debian's package. As root it is installed where it is missing; otherwise, and
# where there is no apt, its test is skipped with a line that says so.
set -euo pipefail
cd "$(dirname "$0")/.."

has_prometheus() {
    command -v prometheus >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return
    local policy=/usr/sbin/policy-rc.d log status=0
    log=$(mktemp)
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    else
        policy=
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 prometheus >"$log" 2>&1 || status=$?
    [ -z "$policy" ] || rm -f "$policy"
    [ "$status" = 0 ] || tail -5 "$log" >&2
    rm -f "$log"
    command -v prometheus >/dev/null
}

scrape() {
    if ! has_prometheus; then
        printf 'prometheus: skipped: it is missing and cannot be installed here\n'
        return
    fi
    # The test runs the example, which this builds too.
    cargo build --package capmalloc-supervisor --example fleet
    FLEET_NEEDS_PROMETHEUS=1 cargo test --package capmalloc-supervisor --test fleet prometheus
}

experiment() {
    local out
    out=$(mktemp -d)
    # Expanded now: the variable is gone when the script ends.
    # shellcheck disable=SC2064
    trap "rm -rf '$out'" EXIT
    cargo run --release --package capmalloc-supervisor --example fleet -- \
        --seconds 12 --repetitions 1 --out "$out"
    local file
    for file in index.html memory.svg table.txt report.json; do
        if [ ! -s "$out/$file" ]; then
            printf '%s: the experiment has written no %s\n' "$0" "$file" >&2
            exit 1
        fi
    done
}

case "$#:${1:-}" in
    0:)
        scrape
        experiment
        ;;
    1:prometheus) scrape ;;
    1:experiment) experiment ;;
    *)
        printf 'usage: %s [prometheus | experiment]\n' "$0" >&2
        exit 2
        ;;
esac
