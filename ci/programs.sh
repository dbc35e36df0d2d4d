#!/usr/bin/env bash
# Real programs, unchanged, under glibc's allocator and under libcapmalloc.so: the same output, the
# same exit status, and not a word from the allocator.
#
#   ci/programs.sh               the quick half
#   ci/programs.sh --all         all of them
#   ci/programs.sh NAME...       these
#
# Programs come from Debian's packages. As root what is missing is installed; otherwise, and where
# there is no apt, a program that is missing is skipped with a line that says so.
set -uo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly QUICK="python sqlite git gxx ruby redis"
readonly REST="nginx node java postgres cargo"
readonly TIMEOUT_SECONDS=600

target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
library=$target/release/libcapmalloc.so
work=$(mktemp -d)
# Servers that leave root behind have to get there too.
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
failed=0 skipped=0 passed=0
readonly repository=$PWD

# Set for the program under test, and for nothing else that this script runs.
preload=
under() { env ${preload:+"LD_PRELOAD=$preload"} "$@"; }

# needs COMMAND PACKAGE...: whether the command is there, if need be by installing its packages.
needs() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" \
            >"$work/apt.log" 2>&1
        command -v "$command" >/dev/null && return
    fi
    printf '%s (package %s) is missing and cannot be installed here\n' "$command" "$1"
    return 77
}

# Waits until a command succeeds, for a server to come up.
await() {
    local _
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    printf 'never ready: %s\n' "$*"
    return 1
}

needs_python() { needs python3 python3; }
run_python() {
    # Its own tests of what touches the allocator most; times are cut from the summary.
    under python3 - <<'PYTHON'
import ctypes, hashlib, json, subprocess, sys, threading, zlib
digest, lock = {}, threading.Lock()
def work(number):
    rows = [{"id": i, "name": f"name-{i * number}", "list": list(range(i % 40))} for i in range(3000)]
    for _ in range(4):
        rows = json.loads(json.dumps(rows))
    with lock:
        digest[number] = hashlib.sha256(zlib.compress(json.dumps(rows).encode())).hexdigest()
threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
[t.start() for t in threads]; [t.join() for t in threads]
for number in sorted(digest): print(number, digest[number])
print(subprocess.run(["sh", "-c", "echo from a child; exit 3"], capture_output=True))
buffer = ctypes.create_string_buffer(1 << 20)
ctypes.memset(buffer, 65, 1 << 19)
print(len(buffer.value), ctypes.CDLL(None).strlen(buffer))
PYTHON
    local status=$?
    for module in test_ctypes test_json test_zlib test_mmap; do
        under python3 -m unittest "test.$module" 2>&1 | sed -E 's/ in [0-9.]+s$//' | tail -3
    done
    # Threads and children; the whole modules take minutes and are for --all.
    if python3 -c 'import test.test_threading' 2>/dev/null; then
        under python3 -m unittest -q test.test_thread test.test_threading.ThreadTests.test_various_ops \
            test.test_threading.ThreadTests.test_foreign_thread test.test_threading.ThreadJoinOnShutdown \
            test.test_subprocess.RunFuncTestCase 2>&1 | sed -E 's/ in [0-9.]+s$//' | tail -3
    fi
    return "$status"
}

needs_sqlite() { needs sqlite3 sqlite3; }
run_sqlite() {
    under sqlite3 "$work/data-$RANDOM.db" <<'SQL'
PRAGMA synchronous = off;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, payload BLOB, grade INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO item SELECT i, 'name-' || (i * 7919 % 100003), zeroblob(i % 300), i % 97 FROM n;
CREATE INDEX by_name ON item (name);
SELECT grade, count(*), sum(length(payload)), min(name), max(name) FROM item GROUP BY grade ORDER BY 1;
DELETE FROM item WHERE id % 3 = 0;
VACUUM;
SELECT count(DISTINCT name), group_concat(id) FROM item WHERE name LIKE 'name-5%1' AND id < 40000;
PRAGMA integrity_check;
SQL
}

needs_git() { needs git git; }
run_git() {
    local clone=$work/clone
    rm -rf "$clone"
    under git clone -q --bare --no-local "$repository" "$clone" || return
    under git -C "$clone" -c pack.threads=4 gc -q --aggressive --prune=now || return
    under git -C "$clone" fsck --full 2>&1 | grep -v '^notice' || :
    under git -C "$clone" log --stat --format=%H | sha256sum
    under git -C "$clone" blame -l HEAD -- src/global.rs | sha256sum
}

needs_gxx() { needs g++ g++; }
run_gxx() {
    cat >"$work/program.cc" <<'CPP'
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>
struct alignas(64) Wide { char data[192]; };
int main() {
    std::map<std::string, std::vector<std::unique_ptr<int>>> map;
    for (int i = 0; i < 20000; i++) map[std::to_string(i % 977)].push_back(std::make_unique<int>(i));
    long sum = 0;
    for (auto& [name, list] : map) for (auto& number : list) sum += *number * (long)name.size();
    std::vector<std::thread> threads;
    std::vector<long> sums(8);
    for (int t = 0; t < 8; t++) threads.emplace_back([t, &sums] {
        std::unordered_map<std::string, std::shared_ptr<Wide>> wide;
        for (int i = 0; i < 5000; i++) wide[std::string(i % 50, 'x') + std::to_string(i)] = std::make_shared<Wide>();
        for (auto& [name, value] : wide) sums[t] += name.size() + (reinterpret_cast<size_t>(value.get()) % 64 != 0 ? 1 << 20 : 0);
    });
    for (auto& thread : threads) thread.join();
    int caught = 0;
    for (int i = 0; i < 1000; i++) try { throw std::runtime_error(std::string(i, 'e')); } catch (std::exception& error) { caught += error.what()[0] == 'e'; }
    try { std::vector<char> much; much.reserve(size_t(1) << 62); } catch (std::bad_alloc&) { std::cout << "bad_alloc\n"; } catch (std::length_error&) { std::cout << "length\n"; }
    std::cout << sum << ' ' << sums[0] << ' ' << sums[7] << ' ' << caught << ' '
              << std::regex_replace("a1b22c333", std::regex("[0-9]+"), "#") << '\n';
}
CPP
    under g++ -std=c++20 -O2 -g -o "$work/program" "$work/program.cc" -pthread || return
    sha256sum <"$work/program"
    under "$work/program"
}

needs_ruby() { needs ruby ruby; }
run_ruby() {
    under ruby - <<'RUBY'
require "json"
require "digest"
store, lock = {}, Mutex.new
25.times.map { |n|
  Thread.new {
    200.times { |i|
      text = JSON.generate("id" => i, "tags" => Array.new(20) { |t| "tag-#{t * n}" }, "body" => "x" * (i * 7))
      value = JSON.parse(text)
      lock.synchronize { store["#{n}-#{i}"] = value if (i % 3).zero? }
    }
  }
}.each(&:join)
puts store.size, Digest::SHA256.hexdigest(store.keys.sort.map { |key| JSON.generate(store[key]) }.join)
Process.warmup if Process.respond_to?(:warmup)
GC.compact if GC.respond_to?(:compact)
pids = 4.times.map { |n| fork { GC.start; exit!(store.values.sum { |value| value["body"].size } == 0 ? 1 : n) } }
puts pids.map { |pid| Process.wait2(pid)[1].exitstatus }.inspect
puts `echo from a shell`
RUBY
}

needs_redis() { needs redis-server redis-server && needs redis-benchmark redis-tools; }
run_redis() {
    local socket=$work/redis.sock defragmentation status=0
    for defragmentation in no yes; do
        rm -f "$socket"
        under redis-server --port 0 --unixsocket "$socket" --save '' --io-threads 2 \
            --io-threads-do-reads yes --dir "$work" --daemonize no >"$work/redis.log" 2>&1 &
        local server=$!
        if ! await redis-cli -s "$socket" ping; then
            kill "$server"
            return 1
        fi
        # Debian's is not built with the allocator that it could ask, and says so both times.
        redis-cli -s "$socket" config set activedefrag "$defragmentation" | cut -c1-60
        redis-benchmark -s "$socket" -q -c 20 -n 20000 -r 5000 -d 200 \
            -t set,get,lpush,sadd,hset,zadd,mset >"$work/benchmark.log" || status=1
        redis-cli -s "$socket" flushall
        redis-cli -s "$socket" eval "for i = 1, 20000 do redis.call('set', 'k' .. i, string.rep('v', i % 500)); redis.call('rpush', 'l' .. i % 50, i) end for i = 1, 20000, 2 do redis.call('del', 'k' .. i) end return redis.call('dbsize')" 0
        redis-cli -s "$socket" memory purge
        redis-cli -s "$socket" bgrewriteaof
        redis-cli -s "$socket" debug digest 2>&1 | cut -c1-60
        redis-cli -s "$socket" shutdown nosave
        wait "$server"
        printf 'server: %s\n' "$?"
        grep capmalloc "$work/redis.log"
    done
    return "$status"
}

needs_nginx() { needs nginx nginx-light && needs wrk wrk; }
run_nginx() {
    local root=$work/nginx
    mkdir -p "$root/html"
    seq 20000 >"$root/html/numbers.txt"
    cat >"$root/nginx.conf" <<NGINX
daemon off; worker_processes 2; pid $root/pid; error_log $root/error.log;
events { worker_connections 512; }
http { access_log off; gzip on; gzip_types text/plain; client_body_temp_path $root/body;
       proxy_temp_path $root/proxy; fastcgi_temp_path $root/fastcgi; uwsgi_temp_path $root/uwsgi;
       scgi_temp_path $root/scgi;
       server { listen 127.0.0.1:18080; root $root/html; } }
NGINX
    under nginx -e "$root/error.log" -c "$root/nginx.conf" &
    local server=$!
    if ! await curl -sf http://127.0.0.1:18080/numbers.txt; then
        kill "$(cat "$root/pid")"
        return 1
    fi
    wrk -t2 -c64 -d4s -H 'Accept-Encoding: gzip' http://127.0.0.1:18080/numbers.txt >"$root/wrk.log"
    grep -c 'Requests/sec' "$root/wrk.log"
    grep 'Non-2xx' "$root/wrk.log"
    curl -s --compressed http://127.0.0.1:18080/numbers.txt | sha256sum
    kill -HUP "$(cat "$root/pid")" && sleep 1
    curl -s http://127.0.0.1:18080/numbers.txt | sha256sum
    kill -QUIT "$(cat "$root/pid")"
    wait "$server"
    printf 'server: %s\n' "$?"
    grep capmalloc "$root/error.log"
    return 0
}

needs_node() { needs node nodejs; }
run_node() {
    under node - <<'JS'
const { Worker } = require("worker_threads"), crypto = require("crypto"), zlib = require("zlib");
const code = `const { parentPort } = require("worker_threads"); let s = 0;
for (let i = 0; i < 300; i++) { const b = Buffer.alloc(100000, i); s += b.length + JSON.stringify({ a: Array(1000).fill(i) }).length; }
parentPort.postMessage(s);`;
Promise.all([...Array(6)].map(() => new Promise((done) => new Worker(code, { eval: true }).on("message", done)))).then((sums) => {
    const data = Buffer.from(Array(200000).fill().map((_, i) => i % 251));
    console.log(sums.join(), crypto.createHash("sha256").update(zlib.brotliCompressSync(data.subarray(0, 50000))).digest("hex"));
    zlib.gzip(data, (error, packed) => console.log(zlib.gunzipSync(packed).equals(data)));
});
JS
}

needs_java() { needs javac openjdk-17-jdk-headless; }
run_java() {
    mkdir -p "$work/java"
    cat >"$work/java/Main.java" <<'JAVA'
import java.nio.ByteBuffer; import java.util.*; import java.util.concurrent.*; import java.util.stream.*; import java.util.zip.*;
public class Main { public static void main(String[] a) throws Exception {
  var pool = Executors.newFixedThreadPool(16); var jobs = new ArrayList<Future<Long>>();
  for (int n = 0; n < 64; n++) { final int k = n; jobs.add(pool.submit(() -> { long s = 0;
    for (int i = 0; i < 50; i++) { var b = ByteBuffer.allocateDirect(10000 + i * k); b.put(0, (byte) i); s += b.capacity();
      var d = new Deflater(); d.setInput(new byte[5000 + i]); d.finish(); s += d.deflate(new byte[6000]); d.end(); }
    return s + IntStream.range(0, 10000).mapToObj(Integer::toString).collect(Collectors.joining()).hashCode(); })); }
  long t = 0; for (var j : jobs) t += j.get(); pool.shutdown(); System.gc(); System.out.println(t); } }
JAVA
    under javac -d "$work/java" "$work/java/Main.java" && under java -Xmx256m -cp "$work/java" Main
}

needs_postgres() {
    PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)
    needs initdb postgresql || { PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin) && needs initdb postgresql; }
}
run_postgres() {
    local data=$work/postgres as=() server
    mkdir -p "$data"
    # The server refuses to be root.
    if [ "$(id -u)" = 0 ]; then
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
        chown postgres "$data"
    fi
    postgres_under() { "${as[@]}" env ${preload:+"LD_PRELOAD=$preload"} "PATH=$PATH" "$@"; }
    rm -rf "${data:?}"/*
    postgres_under initdb -D "$data/db" -U postgres -A trust --no-sync 2>&1 | grep -c 'creating subdirectories ... ok'
    postgres_under postgres -D "$data/db" -k "$data" -c listen_addresses= -c fsync=off \
        >"$data/log" 2>&1 &
    server=$!
    await psql -h "$data" -U postgres -c 'select 1' || {
        cat "$data/log"
        kill "$server"
        return 1
    }
    under pgbench -h "$data" -U postgres -i -s 2 -q postgres >/dev/null 2>&1
    under pgbench -h "$data" -U postgres -c 8 -j 4 -t 500 postgres 2>&1 |
        grep -E 'actually processed|failed transactions'
    under psql -h "$data" -U postgres -At <<'SQL'
set max_parallel_workers_per_gather = 2;
select count(*), sum(aid), md5(string_agg(filler, '' order by aid)) from pgbench_accounts where aid < 50000;
select count(*) from pgbench_history;
select length(string_agg(i::text, ',' order by i)) from generate_series(1, 300000) i;
create extension if not exists plpgsql;
SQL
    postgres_under pg_ctl -D "$data/db" -m fast -s stop
    wait "$server"
    printf 'server: %s\n' "$?"
    grep capmalloc "$data/log"
    return 0
}

needs_cargo() { command -v cargo >/dev/null || { printf 'cargo is missing\n'; return 77; }; }
run_cargo() {
    local crate=$work/crate
    rm -rf "$crate" && mkdir -p "$crate"
    (cd "$repository" && git archive HEAD src Cargo.toml LICENSE-MIT examples/hello.rs) | tar -x -C "$crate"
    # The allocator's own crate, alone: its dependencies come from the local registry.
    sed -i -e '/^\[workspace\]/,/^resolver/d' -e '/^\[dev-dependencies\]/,/^\[lints\]/{/^\[lints\]/!d}' "$crate/Cargo.toml"
    cp "$repository/Cargo.lock" "$crate/"
    printf '\n[workspace]\nresolver = "3"\n' >>"$crate/Cargo.toml"
    (cd "$crate" && CARGO_TARGET_DIR=$crate/target under cargo build --release --offline --quiet --example hello) || return
    under "$crate/target/release/examples/hello"
}

# compare NAME: runs a program both ways.
compare() {
    local name=$1 started=$SECONDS status_glibc status_ours reason
    printf '%-10s ' "$name"
    reason=$("needs_$name")
    local needed=$?
    if [ "$needed" != 0 ]; then
        printf 'skipped: %s\n' "${reason:-what it needs is missing}"
        skipped=$((skipped + 1))
        return
    fi
    [ "$name" = postgres ] && needs_postgres
    run_timed "$name" '' "$work/$name.glibc"
    status_glibc=$?
    local between=$SECONDS
    run_timed "$name" "$library" "$work/$name.ours"
    status_ours=$?
    local times="$((between - started)) s under glibc, $((SECONDS - between)) s under capmalloc"
    if [ "$status_glibc" = "$status_ours" ] && cmp -s "$work/$name.glibc" "$work/$name.ours"; then
        printf 'same: exit status %s, %s lines; %s\n' "$status_ours" \
            "$(wc -l <"$work/$name.ours")" "$times"
        passed=$((passed + 1))
    else
        printf 'DIFFERS: exit status %s and %s; %s\n' "$status_glibc" "$status_ours" "$times"
        diff "$work/$name.glibc" "$work/$name.ours" | head -40
        failed=$((failed + 1))
    fi
}

run_timed() {
    (
        preload=$2
        # Its own end for whatever hangs, by the process group's.
        "run_$1"
    ) >"$3" 2>&1 </dev/null &
    local job=$! waited=0
    while kill -0 "$job" 2>/dev/null; do
        sleep 0.2
        waited=$((waited + 1))
        if [ "$waited" -gt $((TIMEOUT_SECONDS * 5)) ]; then
            pkill -P "$job"
            kill "$job" 2>/dev/null
            printf 'no end after %s s\n' "$TIMEOUT_SECONDS" >>"$3"
        fi
    done
    wait "$job"
}

main() {
    local names
    case "$#:${1:-}" in
        0:) names=$QUICK ;;
        1:--all) names="$QUICK $REST" ;;
        *:-*)
            printf 'usage: %s [--all | NAME...]\nprograms: %s %s\n' "$0" "$QUICK" "$REST" >&2
            exit 2
            ;;
        *) names=$* ;;
    esac
    cargo build --release --quiet --package capmalloc-preload || exit
    local name
    for name in $names; do
        case " $QUICK $REST " in
            *" $name "*) compare "$name" ;;
            *)
                printf '%s: no program is called %s\n' "$0" "$name" >&2
                exit 2
                ;;
        esac
    done
    printf '%s the same, %s different, %s skipped, in %s s\n' "$passed" "$failed" "$skipped" "$SECONDS"
    [ "$failed" = 0 ]
}

main "$@"
