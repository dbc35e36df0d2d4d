//! `capmalloc run`: finds the library, passes settings and the exit status on, and says what is
//! wrong.

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use common::{Ending, library, runner};

fn run(arguments: &[&str]) -> Ending {
    Ending::of(command(arguments))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(runner());
    command.args(arguments).env_remove("CAPMALLOC_LIBRARY").env_remove("LD_PRELOAD");
    command
}

#[test]
fn a_programs_output_and_exit_status_are_its_own() {
    let ending = run(&["run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(ending.status.code(), Some(7), "{ending}");
    assert_eq!((ending.output.as_str(), ending.complaints.as_str()), ("out\n", "err\n"));
    let ending = run(&["run", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(ending.status.signal(), Some(libc::SIGTERM), "{ending}");
}

#[test]
fn settings_reach_the_program_and_the_library_is_in_it() {
    let show = "echo $CAPMALLOC_ARENA_MAX $CAPMALLOC_DECAY_MS $CAPMALLOC_CACHE_BUDGET \
                $CAPMALLOC_BACKGROUND $CAPMALLOC_CPU_CACHES $CAPMALLOC_ARENA_POLICY; \
                grep -c libcapmalloc /proc/self/maps";
    let settings = [
        "run",
        "--arena-max",
        "2",
        "--decay-ms",
        "-1",
        "--cache-budget",
        "4M",
        "--background",
        "--no-cpu-caches",
        "--arena-policy",
        "per-cpu",
        "--",
        "sh",
        "-c",
        show,
    ];
    assert_eq!(run(&["run", "--cache-budget", "0", "true"]).status.code(), Some(0));
    let output = run(&settings).succeeded().output;
    let (settings, mappings) = output.split_once('\n').expect("two lines");
    assert_eq!(settings, "2 -1 4M 1 0 per-cpu");
    assert!(mappings.trim().parse::<u32>().expect("a number") > 0, "{output}");
}

#[test]
fn other_preloaded_libraries_stay_behind_ours() {
    let mut command = command(&["run", "sh", "-c", "echo $LD_PRELOAD"]);
    command.env("LD_PRELOAD", "libm.so.6");
    let ending = Ending::of(command).succeeded();
    assert_eq!(ending.output, format!("{}:libm.so.6\n", library().display()));
}

#[test]
fn figures_come_at_exit_as_a_table_or_as_json() {
    let table = run(&["run", "--stats", "true"]);
    assert!(table.complaints.starts_with("capmalloc: "), "{table}");
    assert!(table.complaints.contains("resident"), "{table}");
    // This one closes its standard error before it ends.
    let json = run(&["run", "--stats=json", "ls", "/"]);
    let object = json.complaints.trim_end();
    assert!(object.starts_with("{\"pid\":") && object.ends_with('}'), "{json}");
    for name in
        ["allocated_bytes", "resident_bytes", "cpu_cache_bytes", "arena_max", "purged_bytes"]
    {
        assert!(object.contains(&format!("\"{name}\":")), "{name}: {json}");
    }
}

/// Names the threads that the shell has after a while.
const THREADS: &str = "sleep 0.3; cat /proc/$$/task/*/comm";

#[test]
fn the_background_thread_keeps_no_cache() {
    let ending = run(&["run", "--background", "--stats=json", "sh", "-c", THREADS]);
    assert!(ending.output.contains("capmalloc-decay"), "{ending}");
    let objects: Vec<_> = ending.complaints.lines().collect();
    // The shell's, and those of what it ran.
    assert!(!objects.is_empty(), "{ending}");
    for object in objects {
        assert!(object.contains("\"threads\":1,"), "{ending}");
    }
}

#[test]
fn figures_are_not_written_into_a_programs_own_files() {
    // One that has no standard error at its start and opens a file in its place, and one that opens
    // a file under the number that figures have.
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-file");
    let path = file.to_str().expect("a path of letters");
    let without = format!("exec 2>&-; exec bash -c 'exec 2>{path}; :'");
    let reused = format!("exec 200>{path}; :");
    for script in [without, reused] {
        std::fs::write(&file, "").expect("a file");
        let ending = run(&["run", "--stats", "bash", "-c", &script]);
        assert!(ending.status.success(), "{script}: {ending}");
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), "", "{script}");
    }
}

#[test]
fn figures_come_where_few_descriptors_are_allowed() {
    for limit in ["ulimit -n 150", "ulimit -n 20"] {
        let table = run(&["run", "--stats", "sh", "-c", &format!("{limit}; exec ls /")]);
        assert!(table.complaints.starts_with("capmalloc: "), "{limit}: {table}");
    }
}

#[test]
fn mistakes_are_told_before_a_program_starts() {
    for (arguments, code, told) in [
        (&["run", "no-such-program"][..], 127, "capmalloc: no-such-program: "),
        (&["run", "/"], 126, "capmalloc: /: "),
        (&["run", "--arena-max", "0", "true"], 2, "0 is not in 1..=1024"),
        (&["run", "--cache-budget", "3X", "true"], 2, "expected a size such as"),
        (&["run", "--stats=xml", "true"], 2, "[possible values: table, json]"),
        (&["run"], 2, "<PROGRAM>"),
    ] {
        let ending = run(arguments);
        assert_eq!(ending.status.code(), Some(code), "{arguments:?} {ending}");
        assert!(ending.complaints.contains(told), "{told:?}: {ending}");
    }
    let mut command = command(&["run", "true"]);
    command.env("CAPMALLOC_LIBRARY", "/no/such/library");
    let ending = Ending::of(command);
    assert_eq!(ending.status.code(), Some(126), "{ending}");
    assert!(ending.complaints.starts_with("capmalloc: CAPMALLOC_LIBRARY: /no/such"), "{ending}");
}

#[test]
fn the_library_is_told_of() {
    let ending = run(&["library"]).succeeded();
    assert_eq!(ending.output, format!("{}\n", library().display()));
}

/// A variable that cannot be understood is told of, and the program runs on.
#[test]
fn a_wrong_variable_is_one_line() {
    let mut command = command(&["run", "echo", "well"]);
    command.env("CAPMALLOC_STATS", "xml");
    let ending = Ending::of(command);
    assert_eq!((ending.status.code(), ending.output.as_str()), (Some(0), "well\n"), "{ending}");
    assert_eq!(ending.complaints.lines().count(), 1, "{ending}");
}
