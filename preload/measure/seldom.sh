#!/usr/bin/env bash
# Which functions of `.text.seldom` a small program runs none the less: each of them costs it up to
# sixteen pages more, and belongs in the first list of preload/layout.ld. Prints nothing when there
# are none. Needs gdb.
#
#   preload/measure/seldom.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --package capmalloc-preload
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O1 -fno-builtin -w -o "$work/program" preload/tests/programs/resident.c
LIBRARY=$(realpath "$target/release/libcapmalloc.so")
export LIBRARY SYMBOLS="$work/symbols"

# The section's first address and its end, and the functions between the two.
read -r first length < <(readelf -SW "$LIBRARY" | sed 's/\[ */[/' | awk '$2 == ".text.seldom" { print $4, $6 }')
end=$(printf '%016x' $((16#$first + 16#$length)))
nm "$LIBRARY" | awk -v first="$first" -v end="$end" \
    'NF == 3 && $2 ~ /[tT]/ && "x" $1 >= "x" first && "x" $1 < "x" end { print $1 }' | sort -u >"$SYMBOLS"

# One breakpoint on each, set after the library is mapped and before anything of it has run.
cat >"$work/steps.py" <<'STEPS'
import os

def run(command):
    return gdb.execute(command, to_string=True)

library = os.environ["LIBRARY"]
run("set environment LD_PRELOAD " + library)
run("set startup-with-shell off")
run("starti")
run("set stop-on-solib-events 1")
mapped = []
while not mapped:
    run("continue")
    mapped = [line.split() for line in run("info proc mappings").splitlines() if library in line]
base = int(mapped[0][0], 16)
run("set stop-on-solib-events 0")
for symbol in open(os.environ["SYMBOLS"]):
    run("tbreak *0x%x" % (base + int(symbol, 16)))
while True:
    told = run("continue")
    if not gdb.selected_inferior().pid:
        print(told)
        break
    print("seldom? " + run("info symbol $pc").strip())
STEPS
if ! gdb -q -batch -ex 'set pagination off' -ex 'set confirm off' -x "$work/steps.py" "$work/program" \
    >"$work/log" 2>&1 || ! grep -q 'exited normally' "$work/log"; then
    cat "$work/log" >&2
    exit 1
fi
sed -n 's/^seldom? \(.*\) in section .*$/\1/p' "$work/log" | if command -v c++filt >/dev/null; then c++filt; else cat; fi
