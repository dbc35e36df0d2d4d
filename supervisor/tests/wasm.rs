//! Whole processes with wasm instances: the example under a limit on address space, and what the
//! kernel says of memory that a restart gave back.
#![cfg(feature = "wasm")]

use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use capmalloc::Heap;
use capmalloc_supervisor::wasm::{StorageInstance, WasmEngine, WasmModule, WasmTimes};
use capmalloc_supervisor::{Instance, InstanceId};

/// Longer than any of these takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// Set for a test that is to run in this very process.
const CHILD: &str = "CAPMALLOC_SUPERVISOR_TEST_CHILD";

/// Runs a program to its end, or kills it at the deadline; answers with what it printed.
fn output_of(mut command: Command) -> (ExitStatus, String) {
    let mut file = tempfile::tempfile().unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    (status, text)
}

/// The example's program, which `cargo test` builds along with the tests.
fn example(arguments: &[&str]) -> Command {
    let test = env::current_exe().unwrap();
    // It lies in `deps`, beside which is `examples`.
    let profile = test.ancestors().nth(2).unwrap();
    let path: PathBuf = profile.join("examples").join("wasm_memories");
    assert!(path.exists(), "{} is missing; `cargo build --examples` makes it", path.display());
    let mut command = Command::new(path);
    command.args(arguments);
    command
}

/// As `ulimit -v` in the shell that starts the program, in bytes.
fn limit_address_space(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    let set = move || {
        // SAFETY: the call reads the structure that the closure holds.
        match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: what runs between the fork and the exec is one system call.
    unsafe { command.pre_exec(set) };
}

#[test]
fn ten_thousand_memories_in_8_gib_where_the_defaults_hold_one() {
    let mut command = example(&["--count", "10000"]);
    limit_address_space(&mut command, 8_388_608 * 1024);
    let (status, text) = output_of(command);
    assert!(status.success(), "{status}: {text}");
    for part in [
        "address space is limited to 8589934592 bytes (ulimit -v 8388608)",
        "wasmtime's defaults: memories made 1, read back 1",
        "number 2 failed: mmap failed",
        "capmalloc's heap: memories made 10000, read back 10000\n  none failed",
        "the heap's limit on address space is 268435456 bytes",
        "are mapped, and this needs another 4194304",
        "a linear memory of 0 bytes asked for 65536 more",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_example_sets_a_limit_where_there_is_none_and_says_so() {
    // Neither may be known to the test: whoever runs it may have a limit.
    let (status, text) = output_of(example(&["--count", "70", "--limit", "8388608", "--fill"]));
    assert!(status.success(), "{status}: {text}");
    assert!(
        text.contains("this program limits its children to 8589934592 bytes")
            || text.contains("address space is limited to"),
        "{text}"
    );
    assert!(text.contains("capmalloc's heap: memories made 70, read back 70"), "{text}");
    assert!(text.contains("limit on address space is 8388608 bytes"), "{text}");
}

/// Runs a test alone in a process of its own, so that no other's memory is counted with its.
fn alone(name: &str, test: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        return test();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let (status, text) = output_of(command);
    assert!(status.success() && text.contains("1 passed"), "{status}: {text}");
}

/// Resident memory of this process, by the kernel.
fn resident_bytes() -> u64 {
    // Unlike `statm`, it is exact.
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

fn storages(count: u64) -> (WasmModule, Vec<StorageInstance>) {
    let engine = WasmEngine::new(Arc::new(Heap::new().unwrap())).unwrap();
    let module = StorageInstance::module(&engine, "storage").unwrap();
    let start = |id| StorageInstance::new(InstanceId(id), &module, WasmTimes::default()).unwrap();
    let instances = (0..count).map(start).collect();
    (module, instances)
}

/// Instances that each leak so much fall by their footprints when they are restarted.
fn restarts_give_back(count: u64, leaked_bytes: u32) {
    const SLACK_BYTES: u64 = 2 << 20;
    let (_module, instances) = storages(count);
    for instance in &instances {
        // The first calls are not to be counted: they touch code and stack.
        instance.put(b"key", b"value").unwrap();
        instance.restart().unwrap();
    }
    let start_bytes = resident_bytes();
    for instance in &instances {
        instance.put(b"key", &[1; 100_000]).unwrap();
        instance.leak(leaked_bytes).unwrap();
    }
    let footprint = |instance: &StorageInstance| instance.footprint().unwrap().resident_bytes;
    let held_bytes: u64 = instances.iter().map(footprint).sum();
    assert!(held_bytes >= count * u64::from(leaked_bytes));
    let before_bytes = resident_bytes();
    assert!(before_bytes + SLACK_BYTES >= start_bytes + held_bytes, "footprints are resident");
    instances.iter().for_each(|instance| instance.restart().unwrap());
    let (after_bytes, left_bytes) =
        (resident_bytes(), instances.iter().map(footprint).sum::<u64>());
    let fallen_bytes = before_bytes.saturating_sub(after_bytes);
    assert!(
        fallen_bytes + left_bytes + SLACK_BYTES >= held_bytes,
        "{count} times {leaked_bytes}: {before_bytes} to {after_bytes}, held {held_bytes}"
    );
}

#[test]
fn a_restarted_instances_memory_is_back_with_the_system() {
    alone("a_restarted_instances_memory_is_back_with_the_system", || {
        // Spans of segments, mappings that the heap keeps for reuse, and one that it does not.
        restarts_give_back(20, 1 << 20);
        restarts_give_back(3, 8 << 20);
        restarts_give_back(1, 64 << 20);
    });
}

#[test]
fn what_a_dropped_instance_had_is_back_with_the_system_once_it_has_decayed() {
    alone("what_a_dropped_instance_had_is_back_with_the_system_once_it_has_decayed", || {
        let (module, mut instances) = storages(9);
        let heap = module.engine().memories().heap();
        heap.set_decay(Some(Duration::from_millis(50)));
        instances.iter().for_each(|instance| instance.leak(8 << 20).unwrap());
        let before_bytes = resident_bytes();
        instances.truncate(1);
        // The heap sees to its decay where memory is freed past its cache, as here by instances
        // that come, grow and go.
        let began = Instant::now();
        while before_bytes.saturating_sub(resident_bytes()) < 60 << 20 {
            assert!(began.elapsed() < DEADLINE / 2, "{before_bytes} to {}", resident_bytes());
            let one = StorageInstance::new(InstanceId(100), &module, WasmTimes::default()).unwrap();
            one.leak(1 << 20).unwrap();
            drop(one);
            thread::sleep(Duration::from_millis(10));
        }
    });
}
