//! What the environment says of the allocator is done, and what it says wrongly is told in one
//! line, after which the program runs on.

mod common;

use std::alloc::Layout;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use capmalloc::{CapMalloc, Heap};
use common::block::Block;
use common::child::{Child, Ending, is_child, tell};
use common::worker::Worker;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const OWN: &str = "CAPMALLOC_ARENA_MAX";
const GLIBCS: &str = "MALLOC_ARENA_MAX";
const POLICY: &str = "CAPMALLOC_ARENA_POLICY";
const BUDGET: &str = "CAPMALLOC_CACHE_BUDGET";
const CPU_CACHES: &str = "CAPMALLOC_CPU_CACHES";
const STATS: &str = "CAPMALLOC_STATS_AT_EXIT";

/// Threads of a child: the main one, the test's, and four workers.
const THREADS: &str = "6";

/// What every child of these tests does: it starts a few threads and tells its figures.
fn tell_figures() {
    let workers: Vec<Worker> = (0..4).map(|_| Worker::start()).collect();
    workers.iter().for_each(|worker| worker.run(|| drop(Block::of_size(100))));
    let stats = capmalloc::stats();
    tell("cap", capmalloc::arena_max());
    tell("arenas", stats.arenas.len());
    tell("budget", stats.cache_budget_bytes);
    workers.into_iter().for_each(Worker::end);
}

/// Runs the calling test under each list of settings, and hands what came of it to `judge`.
fn under<const N: usize>(lists: [&[(&str, &str)]; N], judge: impl Fn(&[(&str, &str)], Ending)) {
    if is_child() {
        return tell_figures();
    }
    for settings in lists {
        judge(settings, Child::with_settings(settings).succeed());
    }
}

fn is_quiet(ending: &Ending) {
    assert_eq!(ending.complaints, "", "{ending}");
}

/// Holds that there is one line, and that it names the setting and what is used in its place.
fn one_line_tells_of(ending: &Ending, name: &str, value: &str, instead: &str) {
    let line = ending.complaints.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n') && line.starts_with("capmalloc: "), "one line: {ending}");
    assert!(line.contains(&format!("{name}=")), "it names the variable: {line}");
    assert!(line.contains(value), "it names the value: {line}");
    let using = format!("using {instead}");
    assert!(line.contains(&using), "it names what is used, {using:?}: {line}");
}

#[test]
fn a_cap_is_respected() {
    under([&[(OWN, "3")]], |_, ending| {
        is_quiet(&ending);
        assert_eq!((ending.value("cap"), ending.value("arenas")), ("3", "3"));
    });
}

#[test]
fn the_cap_for_glibc_is_respected_where_there_is_no_other() {
    under([&[(GLIBCS, "2")]], |_, ending| {
        is_quiet(&ending);
        assert_eq!((ending.value("cap"), ending.value("arenas")), ("2", "2"));
    });
}

#[test]
fn our_own_cap_goes_over_that_for_glibc() {
    let lists: [&[_]; 2] = [&[(OWN, "3"), (GLIBCS, "2")], &[(GLIBCS, "nonsense"), (OWN, "3")]];
    under(lists, |_, ending| {
        is_quiet(&ending);
        assert_eq!(ending.value("cap"), "3");
    });
}

#[test]
fn the_ends_of_the_range_are_in_it() {
    under([&[(OWN, "1")], &[(OWN, "1024")], &[(GLIBCS, "1024")]], |settings, ending| {
        is_quiet(&ending);
        assert_eq!(ending.value("cap"), settings[0].1);
    });
}

#[test]
fn a_cap_that_cannot_be_is_told_and_the_program_runs_on() {
    let lists: [&[_]; 10] = [
        &[(OWN, "0")],
        &[(OWN, "-1")],
        &[(OWN, "abc")],
        &[(OWN, "")],
        &[(OWN, "99999")],
        &[(OWN, "1025")],
        &[(OWN, "2.5")],
        &[(OWN, "18446744073709551617")],
        &[(GLIBCS, "0")],
        &[(GLIBCS, "many")],
    ];
    under(lists, |settings, ending| {
        let (name, value) = settings[0];
        one_line_tells_of(&ending, name, value, ending.value("cap"));
    });
}

#[test]
fn a_cap_that_is_no_text_is_told_as_well() {
    if is_child() {
        return tell_figures();
    }
    let value = std::ffi::OsStr::from_bytes(b"\xff\n7");
    let ending = Child::with_settings(&[]).and(OWN, value).succeed();
    one_line_tells_of(&ending, OWN, "7", ending.value("cap"));
}

#[test]
fn each_policy_is_known_by_its_name() {
    let cap = (OWN, "64");
    let lists: [&[_]; 3] = [
        &[(POLICY, "per-thread"), cap],
        &[(POLICY, "on-contention"), cap],
        &[(POLICY, "per-cpu"), cap],
    ];
    under(lists, |settings, ending| {
        is_quiet(&ending);
        // What the others do is told in `arenas.rs`; here it depends on the machine.
        if settings[0].1 == "per-thread" {
            assert_eq!(ending.value("arenas"), THREADS, "{ending}");
        }
    });
}

#[test]
fn a_policy_that_is_not_known_is_told_and_the_default_used() {
    let lists: [&[_]; 2] = [&[(POLICY, "per-moon"), (OWN, "64")], &[(POLICY, ""), (OWN, "64")]];
    under(lists, |settings, ending| {
        one_line_tells_of(&ending, POLICY, settings[0].1, "per-thread");
        assert_eq!(ending.value("arenas"), THREADS, "an arena for each thread");
    });
}

#[test]
fn a_cache_budget_is_read_with_its_unit() {
    let lists: [&[_]; 4] =
        [&[(BUDGET, "512K")], &[(BUDGET, "1MiB")], &[(BUDGET, "0")], &[(BUDGET, "4096")]];
    under(lists, |settings, ending| {
        is_quiet(&ending);
        let bytes = match settings[0].1 {
            "512K" => "524288",
            "1MiB" => "1048576",
            bytes => bytes,
        };
        assert_eq!(ending.value("budget"), bytes);
    });
}

#[test]
fn a_cache_budget_that_cannot_be_is_told_and_the_default_used() {
    let lists: [&[_]; 3] = [&[(BUDGET, "-5K")], &[(BUDGET, "lots")], &[(BUDGET, "9999999999T")]];
    under(lists, |settings, ending| {
        one_line_tells_of(&ending, BUDGET, settings[0].1, "a quarter of resident memory");
        assert_eq!(ending.value("budget"), (8 << 20).to_string(), "of a small program's");
    });
}

#[test]
fn figures_are_written_at_the_end_where_they_are_wanted() {
    under([&[(STATS, "1"), (OWN, "3")], &[(STATS, "yes"), (OWN, "3")]], |_, ending| {
        let table = &ending.complaints;
        assert!(table.starts_with("capmalloc: "), "{ending}");
        for part in ["allocated", "resident", "mapped", "arenas", "of at most 3", "occupancy"] {
            assert!(table.contains(part), "{part:?} is missing: {ending}");
        }
    });
}

#[test]
fn figures_are_not_written_where_they_are_not_wanted() {
    under([&[], &[(STATS, "0")], &[(STATS, "off")]], |_, ending| is_quiet(&ending));
}

#[test]
fn a_switch_that_is_neither_on_nor_off_is_told() {
    under([&[(STATS, "perhaps")]], |_, ending| {
        one_line_tells_of(&ending, STATS, "perhaps", "0");
    });
}

#[test]
fn a_switch_that_is_neither_on_nor_off_is_told_and_left_as_it_was() {
    under([&[(CPU_CACHES, "perhaps")], &[(CPU_CACHES, "2")]], |settings, ending| {
        one_line_tells_of(&ending, CPU_CACHES, settings[0].1, "1");
    });
}

#[test]
fn each_wrong_setting_has_its_line() {
    under(
        [&[(OWN, "x"), (POLICY, "y"), (BUDGET, "z"), (CPU_CACHES, "v"), (STATS, "w")]],
        |settings, ending| {
            assert_eq!(ending.complaints.lines().count(), settings.len(), "{ending}");
            for (name, value) in settings {
                let pair = format!("{name}=\"{value}\"");
                let is_told =
                    ending.complaints.lines().filter(|line| line.contains(&pair)).count() == 1;
                assert!(is_told, "{pair}: {ending}");
            }
        },
    );
}

fn allowed_processors() -> libc::cpu_set_t {
    // SAFETY: zero is the calling thread, and a zeroed set is an empty one, which is written.
    unsafe {
        let mut allowed = core::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed);
        allowed
    }
}

/// Lets the calling process run on only one of the processors that it may run on.
fn stay_on_one_processor() -> std::io::Result<()> {
    let allowed = allowed_processors();
    // SAFETY: the sets are this function's own, a zeroed one is empty, and the numbers are within
    // a set's size.
    unsafe {
        let mut one = core::mem::zeroed();
        let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &allowed));
        libc::CPU_SET(first.unwrap_or(0), &mut one);
        match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

#[test]
fn without_a_setting_there_are_as_many_arenas_as_processors_to_use() {
    if is_child() {
        return tell_figures();
    }
    let ending = Child::with_settings(&[]).succeed();
    is_quiet(&ending);
    let cap: usize = ending.value("cap").parse().expect("a number");
    // The standard library rounds a quota of processor time down, and we round it up.
    let fewest = std::thread::available_parallelism().expect("a number").get();
    // SAFETY: counting reads the set and nothing else.
    let most = unsafe { libc::CPU_COUNT(&allowed_processors()) } as usize;
    assert!((fewest..=most).contains(&cap), "{fewest}..={most}: {ending}");
}

#[test]
fn a_program_confined_to_one_processor_has_one_arena() {
    if is_child() {
        return tell_figures();
    }
    // SAFETY: the function makes two system calls and touches its own stack alone.
    let child = unsafe { Child::with_settings(&[]).prepared_by(stay_on_one_processor) };
    let ending = child.succeed();
    is_quiet(&ending);
    assert_eq!((ending.value("cap"), ending.value("arenas")), ("1", "1"));
}

#[test]
fn the_background_thread_serves_heaps_where_the_global_one_keeps_its_memory() {
    const BYTES: usize = 100_000;
    if !is_child() {
        let settings = [("CAPMALLOC_DECAY_MS", "-1"), ("CAPMALLOC_BACKGROUND", "1")];
        Child::with_settings(&settings).succeed();
        return;
    }
    let heap = Heap::new().expect("a heap");
    heap.set_decay(Some(Duration::from_millis(50)));
    let layout = Layout::from_size_align(BYTES, 8).expect("a layout");
    let blocks = [(); 4].map(|()| heap.alloc(layout).expect("memory"));
    // One stays, and with it the segment.
    // SAFETY: all were handed out for this layout, and these are given up.
    blocks[1..].iter().for_each(|block| unsafe { heap.dealloc(*block, layout) });
    // Nothing here comes by a slow path of that heap, nor does a look at its figures.
    for _ in 0..6000 {
        if heap.stats().dirty_bytes == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody ended the periods of an idle heap");
}
