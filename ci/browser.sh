#!/usr/bin/env bash
# The page of the bench's report in a real browser: that it renders, in light and dark and on a
# phone, with no error on the console and no request to the outside.
#
#   ci/browser.sh              the page of made-up figures
#   ci/browser.sh FILE.html    that page
#
# Screenshots go to the target directory. Without a Chromium (Debian's package: chromium) there is
# nothing to do but to say so.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly TIMEOUT_SECONDS=120
target=${CARGO_TARGET_DIR:-target}
target=$(mkdir -p "$target/browser" && cd "$target/browser" && pwd)
readonly target

browser=
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        browser=$name
        break
    fi
done
if [ -z "$browser" ]; then
    printf '%s: skipped, as no Chromium is installed\n' "$0"
    exit 0
fi

# browse NAME SCHEME WIDTH ARGUMENTS: one visit; what it logs goes to NAME.log and NAME.net.json. No
# name leads anywhere, so that nothing is asked of anyone. Schemes: 0 is dark, 1 is light.
browse() {
    local name=$1 scheme=$2 width=$3 status=0 profile
    shift 3
    profile=$(mktemp -d)
    local flags=(--headless=new --disable-gpu --hide-scrollbars --no-first-run --disable-sync
        --disable-background-networking --disable-component-update --disable-default-apps
        --disable-extensions --disable-dev-shm-usage '--host-resolver-rules=MAP * ~NOTFOUND'
        --proxy-server=direct:// --enable-logging=stderr --v=0 "--user-data-dir=$profile"
        "--log-net-log=$target/$name.net.json" "--blink-settings=preferredColorScheme=$scheme"
        "--window-size=$width")
    # Its own sandbox does not work for root.
    if [ "$(id -u)" = 0 ]; then
        flags+=(--no-sandbox)
    fi
    timeout -k 5 "$TIMEOUT_SECONDS" "$browser" "${flags[@]}" "$@" \
        >"$target/$name.out" 2>"$target/$name.log" || status=$?
    rm -rf "$profile"
    if [ "$status" != 0 ]; then
        printf '%s: the browser ended with status %s\n' "$name" "$status"
        tail -n 20 "$target/$name.log"
        return 1
    fi
}

# The addresses that a page asked for. What the browser asks for itself has no origin.
requests() {
    sed -n '/"initiator":"not an origin"/d; /"initiator":/s/.*"url":"\([a-z]*:[^"]*\)".*/\1/p' "$1" |
        { grep -vE '^(file|data):' || true; } | sort -u
}

# check NAME PAGE: what is wrong with the page, a line each; succeeds where nothing is.
check() {
    local name=$1 page=$2 faults=0 part
    browse "$name" 1 1100,1400 --dump-dom "file://$page" || return 1
    for part in 'id="answer"' '<section class="workload"' '<figure class="memory"' \
        '<figure class="scatter"' 'data:image/png;base64,' 'id="losses"' 'id="method"' \
        'id="machine"' '<polyline' '<circle' '</html>'; do
        if ! grep -qF "$part" "$target/$name.out"; then
            printf '%s: there is no %s\n' "$name" "$part"
            faults=1
        fi
    done
    if grep -F 'CONSOLE' "$target/$name.log"; then
        printf '%s: the console is not empty\n' "$name"
        faults=1
    fi
    if requests "$target/$name.net.json" | grep .; then
        printf '%s: it makes requests\n' "$name"
        faults=1
    fi
    return "$faults"
}

# must_fail NAME FAULT MESSAGE PAGE: a check that finds no fault must be able to, so it is made on the
# same page with a fault in it.
must_fail() {
    local name=$1 fault=$2 message=$3 page=$4
    sed "s|</main>|$fault</main>|" "$page" >"$target/$name.html"
    check "$name" "$target/$name.html" >"$target/$name.faults" || true
    if ! grep -qF "$message" "$target/$name.faults"; then
        printf '%s: not found to be wrong: %s\n' "$0" "$fault"
        return 1
    fi
}

screenshot() {
    local name=$1 scheme=$2 width=$3 page=$4
    rm -f "$target/$name.png"
    browse "$name" "$scheme" "$width" "--screenshot=$target/$name.png" "file://$page"
    # A page of one colour takes a few kilobytes.
    if [ "$(stat -c %s "$target/$name.png")" -lt 30000 ]; then
        printf '%s: the picture is empty\n' "$target/$name.png"
        return 1
    fi
    printf 'screenshot: %s\n' "$target/$name.png"
}

if [ $# -gt 0 ]; then
    page=$(realpath "$1")
else
    cargo run --quiet --package capmalloc-benches --bin report-render -- --example "$target/example" \
        >/dev/null
    page=$target/example/index.html
fi

check page "$page"
must_fail with-image '<img src="https://example.invalid/x.png" alt="">' 'makes requests' "$page"
must_fail with-beacon "<script>navigator.sendBeacon('http://example.invalid/b')</script>" \
    'makes requests' "$page"
must_fail with-error '<script>no_such_function()</script>' 'console is not empty' "$page"
screenshot light 1 1100,2400 "$page"
screenshot dark 0 1100,2400 "$page"
screenshot phone 1 500,2400 "$page"
printf '%s: the page renders, with no error and no request\n' "$0"
