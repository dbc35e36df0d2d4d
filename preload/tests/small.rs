//! The library is small in a small program: it brings few pages of its own, and no other library.

mod common;

use std::process::Command;

use common::{Ending, compile, library, preloaded};

/// What a program that only prints may hold more of than under the C library's allocator.
const MORE_KIB_MAX: u64 = 300;

/// How much of the C library the kernel maps around what is used hangs on where it happens to lie,
/// which differs by hundreds of KiB; of so many runs the mean is true to about five.
const RUNS: u64 = 400;

#[test]
fn only_the_c_library_is_loaded_with_it() {
    let output = Command::new("readelf").args(["-dW"]).arg(library()).output();
    let Ok(output) = output else {
        println!("note: skipped, for there is no readelf");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let needed: Vec<&str> = text.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(!needed.is_empty(), "{text}");
    let is_of_the_c_library = |line: &&str| line.contains("[libc.so") || line.contains("[ld-linux");
    assert!(needed.iter().all(is_of_the_c_library), "{needed:?}");
}

/// Where nothing is optimised the library is several times as large, and nobody installs it.
#[test]
#[cfg_attr(debug_assertions, ignore = "tells of optimised libraries")]
fn a_small_program_stays_small() {
    let program = compile("resident", &[]);
    let resident = |mut command: Command| {
        command.env_remove("CAPMALLOC_STATS");
        let output = Ending::of(command).succeeded().output;
        output.lines().last().expect("a line").parse::<u64>().expect("a number")
    };
    let (mut without, mut with) = (0, 0);
    for _ in 0..RUNS {
        without += resident(Command::new(&program));
        with += resident(preloaded(&program, &[]));
    }
    let (without, with) = (without / RUNS, with / RUNS);
    let seen = format!("{with} KiB, and {without} without the library");
    println!("{seen}");
    // A function that is run from `.text.seldom` costs 64 KiB.
    assert!(with <= without + MORE_KIB_MAX, "{seen}; see preload/measure/seldom.sh");
}
