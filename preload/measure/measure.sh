#!/usr/bin/env bash
# The library beside glibc's allocator and Debian's libjemalloc2 and libmimalloc2.0: a pair of malloc
# and free, what a small program holds, and how long it takes.
#
#   preload/measure/measure.sh [PAIRS]
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly PAIRS=${1:-20000000} ROUNDS=5 SIZES="8 16 48 200 1000 8000"
target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --package capmalloc-preload
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for program in pair hello start; do
    cc -O2 -fno-builtin -o "$work/$program" "preload/measure/$program.c"
done

names=(glibc capmalloc) libraries=("" "$target/release/libcapmalloc.so")
for name in jemalloc mimalloc; do
    found=$(ldconfig -p | awk -v name="lib$name.so" 'index($1, name) { print $NF; exit }')
    if [ -n "$found" ]; then
        names+=("$name")
        libraries+=("$found")
    fi
done

median() { sort -n | awk '{ at[NR] = $1 } END { print at[int((NR + 1) / 2)] }'; }

printf '| malloc and free, ns |'
printf ' %s |' "${names[@]}"
printf '\n|---|'
printf -- '---|%.0s' "${names[@]}"
for size in $SIZES; do
    for _ in $(seq "$ROUNDS"); do
        for index in "${!names[@]}"; do
            LD_PRELOAD=${libraries[$index]} "$work/pair" "$size" "$PAIRS" >>"$work/pair-$size-$index"
        done
    done
    printf '\n| %s bytes |' "$size"
    for index in "${!names[@]}"; do printf ' %.2f |' "$(median <"$work/pair-$size-$index")"; done
done
printf '\n| resident, KiB |'
for index in "${!names[@]}"; do
    # The mean: where the C library happens to lie makes a hundred KiB from run to run.
    for _ in $(seq 400); do
        LD_PRELOAD=${libraries[$index]} "$work/hello" figures | awk '/Rss/ { print $2 }'
    done | awk '{ sum += $1 } END { printf " %.0f |", sum / NR }'
done
printf '\n| start to end, us |'
"$work/start" "$work/hello" "${libraries[@]}" | xargs printf ' %s |'
printf '\n'
