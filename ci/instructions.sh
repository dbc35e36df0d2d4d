#!/usr/bin/env bash
# Instructions per operation on the hot paths, counted by valgrind, beside the table in
# ci/instructions.txt.
#
#   ci/instructions.sh            counts capmalloc's, and fails where a path became dearer
#   ci/instructions.sh --all      counts the other allocators' too
#   ci/instructions.sh --update   counts all, and makes that the table
#
# A count is that of a run of twice as many iterations, less that of a run of as many: what it costs
# to start is in both. It depends on compiler and C library, and is compared only where those are
# the table's.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly TABLE=ci/instructions.txt
readonly TOLERANCE_PERCENT=2
readonly COLUMNS_OWN='capmalloc without_handshake'
readonly COLUMNS_PEERS='system jemalloc mimalloc'
target=${CARGO_TARGET_DIR:-target}
target=$(mkdir -p "$target/instructions" && cd "$target" && pwd)
readonly target
readonly programs=$target/instructions

# What the counts depend on: nothing by the clock, no number of processors, and one choice among the
# C library's ways to copy and clear memory.
export CAPMALLOC_DECAY_MS=-1 CAPMALLOC_ARENA_MAX=1 CAPMALLOC_BACKGROUND=0
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM

toolchain() {
    printf '%s, %s, %s\n' "$(rustc --version)" "$(getconf GNU_LIBC_VERSION)" "$(uname -m)"
}

# Builds the program as it is, and once more with capmalloc's handshake left out. The flag goes to
# the packages of this workspace alone, so that nobody else's are built twice.
build() {
    local wrapper=$programs/without-handshake
    build_one capmalloc
    printf '#!/bin/sh\nexec "$@" --cfg capmalloc_without_handshake\n' >"$wrapper"
    chmod +x "$wrapper"
    RUSTC_WORKSPACE_WRAPPER=$wrapper build_one without_handshake
}

build_one() {
    cargo build --quiet --profile bench --package capmalloc-benches --bin instructions
    cp "$target/release/instructions" "$programs/$1"
}

# count PATH COLUMN ITERATIONS: the instructions of the whole run.
count() {
    local program=capmalloc peer=$2 log=$programs/log
    if [ "$2" = without_handshake ]; then
        program=without_handshake peer=capmalloc
    fi
    if ! valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        "$programs/$program" run "$1" "$peer" "$3" >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$log"
}

# per_operation PATH COLUMN ITERATIONS OPERATIONS_PER_ITERATION
per_operation() {
    local once twice
    once=$(count "$1" "$2" "$3")
    twice=$(count "$1" "$2" "$((2 * $3))")
    awk -v once="$once" -v twice="$twice" -v operations="$(($3 * $4))" \
        'BEGIN { printf "%.1f", (twice - once) / operations }'
}

# Counts the columns given, and prints the table of them.
measure() {
    local columns=$1 path iterations operations column counted
    printf '# Instructions per operation; made by ci/instructions.sh --update.\n'
    printf '# toolchain: %s\n' "$(toolchain)"
    # shellcheck disable=SC2086 # one word for each column
    row path $columns
    "$programs/capmalloc" list | while read -r path iterations operations; do
        set --
        for column in $columns; do
            counted=$(per_operation "$path" "$column" "$iterations" "$operations")
            set -- "$@" "$counted"
        done
        row "$path" "$@"
    done
}

row() {
    printf '%-20s' "$1"
    shift
    printf ' %18s' "$@"
    printf '\n'
}

# compare MEASURED: says where capmalloc's column is not the table's, and fails where it is above.
compare() {
    if ! grep -qxF "# toolchain: $(toolchain)" "$TABLE"; then
        printf 'Not compared: %s was counted with another toolchain,\n  %s\nand this is\n  %s\n' \
            "$TABLE" "$(sed -n 's/^# toolchain: //p' "$TABLE")" "$(toolchain)"
        return
    fi
    awk -v tolerance="$TOLERANCE_PERCENT" '
        /^#/ || $1 == "path" { next }
        NR == FNR { known[$1] = $2; next }
        !($1 in known) { printf "%s is not in the table: --update it\n", $1; failed = 1; next }
        $2 > known[$1] * (1 + tolerance / 100) {
            printf "%s became dearer: %s instructions, not %s\n", $1, $2, known[$1]; failed = 1
        }
        $2 < known[$1] * (1 - tolerance / 100) {
            printf "%s became cheaper: %s instructions, not %s: --update the table\n", $1, $2, known[$1]
        }
        { seen[$1] = 1 }
        END {
            for (path in known) if (!(path in seen)) {
                printf "%s is in the table and was not counted\n", path; failed = 1
            }
            if (!failed) print "No path became dearer."
            exit failed
        }' "$TABLE" "$1"
}

main() {
    local measured=$programs/measured.txt
    if ! command -v valgrind >/dev/null; then
        printf '%s: needs valgrind\n' "$0" >&2
        exit 2
    fi
    case "$#:${1:-}" in
        0: | 1:--all | 1:--update) ;;
        *)
            printf 'usage: %s [--all | --update]\n' "$0" >&2
            exit 2
            ;;
    esac
    build
    if [ -z "${1:-}" ]; then
        measure "$COLUMNS_OWN" >"$measured"
    else
        measure "$COLUMNS_OWN $COLUMNS_PEERS" >"$measured"
    fi
    cat "$measured"
    if [ "${1:-}" = --update ]; then
        cp "$measured" "$TABLE"
    else
        compare "$measured"
    fi
}

main "$@"
