//! The library is small in a small program: it brings few pages of its own, and no other library.

mod common;

use std::process::Command;

use common::{Ending, compile, library, preloaded};

/// What of the library's own and of the heap may be resident in a program that only prints.
const OWN_KIB_MAX: u64 = 300;

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
        Ending::of(command).succeeded().output.trim().parse::<u64>().expect("a number")
    };
    let without = resident(Command::new(&program));
    let with = resident(preloaded(&program, &[]));
    assert!(with <= without + OWN_KIB_MAX, "{with} KiB, and {without} without the library");
}
