//! Command lines that are read, and those that are refused.

use super::*;

const LEAN: &str = "lean: capmalloc CAPMALLOC_CACHE_BUDGET=4M CAPMALLOC_ARENA_MAX=1";

fn parse(line: &str) -> Result<Mode, String> {
    let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
    Mode::parse(&arguments)
}

fn compared(line: &str) -> Comparison {
    match parse(line) {
        Ok(Mode(Task::Compare(comparison))) => comparison,
        other => panic!("{line:?} was read as {other:?}"),
    }
}

fn names(line: &str) -> Vec<String> {
    compared(line).contenders.into_iter().map(|contender| contender.name).collect()
}

#[test]
fn only_a_bench_is_at_full_scale() {
    let scale = |line| match parse(line).expect(line).0 {
        Task::Compare(comparison) => comparison.manner.scale,
        Task::Measure { manner, .. } => manner.scale,
        Task::Help => panic!("{line:?} asks for no help"),
    };
    assert_eq!(scale("--bench"), Scale::Full);
    assert_eq!(scale("--bench --quick"), Scale::Quick);
    assert_eq!(scale("--bench --test"), Scale::Smoke);
    assert_eq!(scale(""), Scale::Smoke);
    assert_eq!(scale("--measure size_drift glibc"), Scale::Full);
    assert_eq!(scale("--measure size_drift glibc --quick"), Scale::Quick);
    assert_eq!(scale("--measure size_drift glibc --test"), Scale::Smoke);
}

#[test]
fn rows_allocators_and_rounds_are_chosen_in_any_order() {
    let line = "--rounds 3 --allocators jemalloc,glibc-2 --bench --only size_drift";
    let Comparison { rows, rounds, command, .. } = compared(line);
    assert_eq!((rows[0].name, rows.len(), rounds), ("size_drift", 1, 3));
    assert_eq!(names(line), ["jemalloc", "glibc-2"]);
    assert_eq!(
        command,
        "cargo bench --bench fragmentation -- --rounds 3 --allocators jemalloc,glibc-2 --only \
         size_drift"
    );
}

#[test]
fn caps_are_added_to_what_is_compared() {
    assert_eq!(
        names("--allocators glibc,capmalloc-2 --arenas 2,8"),
        ["glibc", "capmalloc-2", "capmalloc-8"]
    );
    assert!(names("--arenas 3").contains(&"capmalloc-3".to_string()));
    assert!(!names("--arenas 3").contains(&"capmalloc-4".to_string()));
    assert!(names("--allocators all").contains(&"glibc-4".to_string()));
}

#[test]
fn settings_of_ones_own_are_added_to_what_is_compared() {
    let arguments = ["--bench", "--allocators", "glibc", "--with", LEAN].map(String::from);
    let Ok(Mode(Task::Compare(comparison))) = Mode::parse(&arguments) else {
        panic!("{arguments:?} is no comparison");
    };
    let names: Vec<_> = comparison.contenders.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["glibc", "lean"]);
    assert!(comparison.command.ends_with(&format!("glibc --with '{LEAN}'")));
    let twice = ["--with", LEAN, "--with", LEAN].map(String::from);
    assert_eq!(Mode::parse(&twice).err().as_deref(), Some("\"lean\" is there twice"));
}

#[test]
fn a_trial_writes_nothing_unless_told_where() {
    assert_eq!(compared("--bench --test").out, None);
    assert_eq!(compared("--test --out /tmp/x").out, Some(PathBuf::from("/tmp/x")));
    assert!(compared("--bench").out.is_some_and(|out| out.ends_with(OUT_NAME)));
    assert!(compared("--out x").out.is_some_and(|out| out.is_absolute()));
}

#[test]
fn mistakes_are_named() {
    for (line, part) in [
        ("--only size_drip", "no row \"size_drip\""),
        ("--only size_drift,size_drift", "\"size_drift\" is there twice"),
        ("--allocators malloc", "no allocator \"malloc\""),
        ("--arenas 0", "\"0\" is not a number of arenas"),
        ("--arenas 1,,2", "\"\" is not a number of arenas"),
        ("--with lean", "\"lean\" is not of the form NAME: ALLOCATOR"),
        ("--rounds", "--rounds needs a value"),
        ("--rounds 0", "\"0\" is not a number of rounds"),
        ("--measure size_drift", "--measure needs a value"),
        ("--quickly", "\"--quickly\" is no argument"),
    ] {
        let message = parse(line).expect_err(line);
        assert!(message.contains(part), "{line:?} gave {message:?}");
    }
}
