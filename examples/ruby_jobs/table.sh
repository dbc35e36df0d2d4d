#!/usr/bin/env bash
# The Ruby job program under each allocator: medians of resident memory and time, in turns.
#
#   examples/ruby_jobs/table.sh [ROUNDS [JOBS]]
#
# Needs ruby and, to compare with, Debian's libjemalloc2.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly ROUNDS=${1:-3} JOBS=${2:-12000}
target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --package capmalloc-preload
readonly ours=$target/release/libcapmalloc.so
jemalloc=$(ldconfig -p | awk '/libjemalloc.so.2/ { print $NF; exit }')
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# run NAME SETTINGS...: one run, noted under its name.
run() {
    local name=$1
    shift
    printf '%s\t%s\n' "$name" "$(env "$@" ruby examples/ruby_jobs/jobs.rb "$JOBS")" >>"$results"
}

for _ in $(seq "$ROUNDS"); do
    run 'glibc' LD_PRELOAD=
    run 'glibc, 2 arenas' MALLOC_ARENA_MAX=2
    if [ -n "$jemalloc" ]; then run 'jemalloc' "LD_PRELOAD=$jemalloc"; fi
    run 'capmalloc' "LD_PRELOAD=$ours"
    run 'capmalloc, 1 arena' "LD_PRELOAD=$ours" CAPMALLOC_ARENA_MAX=1
    run 'capmalloc, 2 arenas' "LD_PRELOAD=$ours" CAPMALLOC_ARENA_MAX=2
done

if [ "$(cut -f2 "$results" | awk '{ print $5 }' | sort -u | wc -l)" != 1 ]; then
    printf 'the runs did not do the same\n' >&2
    cat "$results" >&2
    exit 1
fi
printf '| allocator | mean RSS, MiB | highest RSS, MiB | wall time, s | processor time, s |\n'
printf '|---|---|---|---|---|\n'
cut -f1 "$results" | awk '!seen[$0]++' | while IFS= read -r name; do
    # median FIELD DIVISOR
    median() {
        awk -F'\t' -v name="$name" '$1 == name { print $2 }' "$results" | awk -v field="$1" '{ print $field }' |
            sort -n | awk -v by="$2" '{ at[NR] = $1 } END { printf "%.1f", at[int((NR + 1) / 2)] / by }'
    }
    printf '| %s | %s | %s | %s | %s |\n' "$name" "$(median 3 1024)" "$(median 4 1024)" "$(median 1 1)" "$(median 2 1)"
done
