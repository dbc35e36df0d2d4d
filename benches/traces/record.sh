#!/usr/bin/env bash
# Records the traces of this directory anew: all of them, or those that are named.
#
#   benches/traces/record.sh [syntax] [search] [script] [server]
#
# The recorded programs are built here and nowhere else. What they read are the sources of crates
# that they are made of, so the recorder's Cargo.lock decides both.
set -euo pipefail
cd "$(dirname "$0")"

readonly TARGET=${CARGO_TARGET_DIR:-$PWD/../../target}/recorder

record() {
    local name=$1 description=$2
    shift 2
    local recording=$work/$name.recording
    (
        cd "$work/vendor"
        TRACE_RECORDING=$recording "$TARGET/release/$name" "$@"
    )
    cargo run --quiet --release --package capmalloc-benches --bin trace -- \
        pack "$recording" "$name.trace" --description "$description"
    rm "$recording"
}

# The version of a recorded program, as the recorder's Cargo.lock has it.
version() {
    sed -n "/^name = \"$1\"\$/{n;s/version = \"\\(.*\\)\"/\\1/p;q}" recorder/Cargo.lock
}

main() {
    if [ "$#" -eq 0 ]; then
        set -- syntax search script server
    fi
    work=$(mktemp --directory "${TMPDIR:-/tmp}/record.XXXXXX")
    trap 'rm -r "$work"' EXIT
    CARGO_TARGET_DIR=$TARGET cargo build --quiet --release --locked \
        --manifest-path recorder/Cargo.toml
    cargo vendor --quiet --locked --versioned-dirs --manifest-path recorder/Cargo.toml \
        "$work/vendor" >"$work/vendor.toml"
    local name
    for name in "$@"; do
        case $name in
            syntax)
                record syntax "syn $(version syn) and prettyplease read, index and print Rust" \
                    "tokio-$(version tokio)/src/runtime" "tokio-$(version tokio)/src/sync" \
                    "tokio-$(version tokio)/src/io"
                ;;
            search)
                record search "tantivy $(version tantivy) indexes Rust sources and searches them" \
                    "tantivy-$(version tantivy)" "tokio-$(version tokio)" "rhai-$(version rhai)"
                ;;
            script)
                record script "rhai $(version rhai) runs a script over Rust sources" \
                    "tantivy-$(version tantivy)"
                ;;
            server)
                record server "hyper $(version hyper) on tokio $(version tokio), with its clients" \
                    "rhai-$(version rhai)"
                ;;
            *)
                printf '%s: there is no program %s\n' "$0" "$name" >&2
                exit 1
                ;;
        esac
    done
}

main "$@"
