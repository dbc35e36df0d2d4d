#!/usr/bin/env bash
# The test suite, as it is and under settings that shake other things loose.
#
#   ci/test.sh                 all variants
#   ci/test.sh plain           the README's test command
#   ci/test.sh one-arena       the same with a cap of one arena, and slots as programs have them
#   ci/test.sh address-space   the test binaries in 1 GiB of address space
#   ci/test.sh optimised       those that tell of memory and time only when optimised, and of races
#   ci/test.sh loom            models of the lock, the handshake, the depot and a heap, in every order
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ADDRESS_SPACE_KIB=1048576

plain() {
    cargo test --workspace
    # What the feature adds; the rest is the same with it.
    cargo test --package capmalloc --features allocator-api2 --lib -- heap::
}

one_arena() {
    # Apart from each other, or the preload library's feature would be on for all.
    CAPMALLOC_ARENA_MAX=1 cargo test
    CAPMALLOC_ARENA_MAX=1 cargo test --package capmalloc-preload
}

# Compilers and linkers need more address space than that, so everything is built before the limit
# is set. Documentation tests are left out, because they are compiled as they run.
address_space() {
    local messages binaries binary
    # The compiler's own messages go to standard error; a failed build stops here.
    messages=$(cargo test --no-run --message-format=json-render-diagnostics)
    binaries=$(test_binaries <<<"$messages")
    if [ -z "$binaries" ]; then
        printf '%s: cargo named no test binary\n' "$0" >&2
        exit 1
    fi
    while IFS= read -r binary; do
        printf '     Running %s in %s KiB of address space\n' "${binary##*/}" "$ADDRESS_SPACE_KIB"
        (
            ulimit -v "$ADDRESS_SPACE_KIB"
            # Unit tests run on the C library's allocator, which would take 64 MiB of addresses for
            # each thread that it lets have an arena.
            export GLIBC_TUNABLES=glibc.malloc.arena_max=1
            exec "$binary" </dev/null
        )
    done <<<"$binaries"
}

# The smallest program's size is bounded only when it is optimised, and other races are lost and won.
optimised() {
    cargo build --release --examples
    cargo test --release --package capmalloc \
        --test fork --test idle_threads --test limits --test memory --test properties \
        --test reclaim --test stress --test thread_end
    cargo test --release --package capmalloc-preload
}

# Every order with up to three preemptions, which is where mistakes are found; more take hours. The
# directory of its own keeps what the flag builds anew apart from what everything else uses.
loom() {
    LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3} RUSTFLAGS="--cfg loom" \
        CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom \
        cargo test --release --package capmalloc --lib loom_models
}

# The paths of this crate's test binaries, from cargo's messages. What the other allocators in the
# benches do in so little address space is not ours to test.
test_binaries() {
    sed -n -e '/"profile":{[^}]*"test":true}/!d' \
        -e "\\|\"manifest_path\":\"$(pwd -P)/Cargo.toml\"|!d" \
        -e 's|.*"executable":"\([^"]*\)".*|\1|p'
}

main() {
    if [ "$#" -eq 0 ]; then
        set -- plain one-arena address-space optimised loom
    fi
    local variant
    for variant in "$@"; do
        case $variant in
            plain) plain ;;
            one-arena) one_arena ;;
            address-space) address_space ;;
            optimised) optimised ;;
            loom) loom ;;
            *)
                printf '%s: no variant is called %s\n' "$0" "$variant" >&2
                exit 2
                ;;
        esac
    done
}

main "$@"
