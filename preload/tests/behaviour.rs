//! What C, POSIX and glibc's manual say of `malloc` and its relations, in a C program.

mod common;

use std::process::Command;

use common::{Ending, compile, library, preloaded};

#[test]
fn the_calls_keep_their_promises() {
    let program = compile("behaviour", &[]);
    let mut command = preloaded(&program, &[]);
    // So that what a trim finds is not given back before.
    command.env("CAPMALLOC_DECAY_MS", "-1");
    let ending = Ending::of(command).succeeded();
    assert!(ending.output.ends_with("well\n"), "{ending}");
    let info = ending.output.strip_suffix("well\n").expect("a whole document");
    assert!(info.starts_with("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n"), "{info}");
    assert!(info.ends_with("</malloc>\n"), "{info}");
    for element in ["<total type=\"fast\"", "<total type=\"mmap\"", "<system type=\"max\""] {
        assert!(info.contains(element), "{element}: {info}");
    }
}

#[test]
fn the_calls_keep_their_promises_with_one_arena() {
    let program = compile("behaviour", &[]);
    let mut command = preloaded(&program, &[]);
    command.env("CAPMALLOC_ARENA_MAX", "1").env("CAPMALLOC_DECAY_MS", "-1");
    Ending::of(command).succeeded();
}

#[test]
fn settings_of_glibc_are_honoured_and_ours_come_first() {
    let program = compile("arenas", &[]);
    let arenas = |settings: &[(&str, &str)]| {
        let mut command = preloaded(&program, &[]);
        command.env_remove("CAPMALLOC_ARENA_MAX").env_remove("MALLOC_ARENA_MAX");
        command.envs(settings.iter().copied());
        Ending::of(command).succeeded().output
    };
    assert_eq!(arenas(&[("MALLOC_ARENA_MAX", "3")]), "3\n");
    assert_eq!(arenas(&[("MALLOC_ARENA_MAX", "3"), ("CAPMALLOC_ARENA_MAX", "5")]), "5\n");
}

/// A program's handlers may allocate: those of the heap, which hold it, are called within.
#[test]
fn threads_and_handlers_may_allocate_around_a_fork() {
    let program = compile("forks", &[]);
    for order in [&[][..], &["late"]] {
        let ending = Ending::of(preloaded(&program, order)).succeeded();
        // In the parent before and after each fork.
        assert_eq!(ending.output, "200\n", "{order:?}");
    }
}

/// A program's own `operator delete` gets the calls of the sized one, too.
#[test]
fn operators_that_a_program_replaces_are_its_own() {
    let program = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("operators");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/operators.cpp");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O1", "-fsized-deallocation", "-o"]).arg(&program).arg(source);
    let Ok(status) = compiler.status() else {
        println!("note: skipped, for there is no C++ compiler");
        return;
    };
    assert!(status.success(), "the program does not compile");
    assert_eq!(Ending::of(preloaded(&program, &[])).succeeded().output, "30\n");
}

/// The fast ways reach the thread's slot by its distance from the thread pointer.
#[test]
fn no_call_is_made_for_a_threads_slot() {
    let output = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(library()).output();
    let Ok(output) = output else {
        println!("note: skipped, for there is no objdump");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let relocations = Command::new("readelf").arg("-rW").arg(library()).output().expect("readelf");
    let relocations = String::from_utf8_lossy(&relocations.stdout).into_owned();
    assert!(relocations.contains("TPOFF64") || relocations.contains("TLS_TPREL"), "initial-exec");
    // Functions that are the same share a place, which has one of their names.
    for name in ["malloc", "free", "calloc", "realloc"] {
        let names = ["", "__libc_", "c", "__libc_c"].map(|start| format!("{start}{name}"));
        let start = names.iter().find_map(|name| text.find(&format!(" <{name}>:\n")));
        let start = start.expect("the function is there");
        let function = text[start..].split("\n\n").next().expect("its instructions");
        assert!(!function.contains("__tls_get_addr"), "{function}");
    }
}
