//! Misuse of the heap ends a program with one line that names the function, the pointer and what
//! was found.

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use common::{Ending, compile, preloaded};

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| compile("misuse", &[]));

fn aborts(misuse: &str, function: &str, finding: &str) {
    let ending = Ending::of(preloaded(&PROGRAM, &[misuse]));
    assert_eq!(ending.status.signal(), Some(libc::SIGABRT), "{ending}");
    let pointer = ending.output.trim_end();
    let line = ending.complaints.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n'), "one line: {ending}");
    let start = format!("capmalloc: {function} of {pointer}");
    assert!(line.starts_with(&start), "{start:?}: {ending}");
    assert!(line.ends_with(finding), "{finding:?}: {ending}");
}

macro_rules! misuses {
    ($($test:ident: $name:literal => $function:literal, $finding:literal;)+) => {
        $(
            #[test]
            fn $test() {
                aborts($name, $function, $finding);
            }
        )+
    };
}

misuses! {
    a_small_block_freed_twice: "double-free-small" => "free", "it is free already";
    a_large_block_freed_twice: "double-free-large" => "free", "it is free already";
    a_block_too_large_for_caches_freed_twice:
        "double-free-very-large" => "free", "no allocation starts there";
    a_large_block_resized_after_its_end:
        "realloc-after-free" => "realloc", "it is free already";
    a_huge_block_freed_twice: "double-free-huge" => "free", "it is not in any memory of this heap";
    a_pointer_to_the_stack_freed: "foreign-stack" => "free", "it is not in any memory of this heap";
    a_pointer_to_the_stack_resized:
        "foreign-realloc" => "realloc", "it is not in any memory of this heap";
    a_pointer_to_the_stack_measured:
        "foreign-size" => "malloc_usable_size", "it is not in any memory of this heap";
    a_pointer_into_a_small_block_freed:
        "interior-small" => "free", "no block of 208 bytes starts there";
    a_pointer_into_a_large_block_freed: "interior-large" => "free", "no allocation starts there";
    a_pointer_into_a_huge_block_freed:
        "interior-huge" => "free", "it is not in any memory of this heap";
    a_pointer_into_a_small_block_resized:
        "interior-realloc" => "realloc", "no allocation starts there";
    a_small_block_freed_with_another_size:
        "wrong-size-small" => "free_sized", "with 200 bytes: it is a block of 48";
    a_large_block_freed_with_another_size:
        "wrong-size-large" => "free_sized", "with 48 bytes: it is a block of 102400";
    an_aligned_block_freed_with_another_size:
        "wrong-size-aligned" => "free_aligned_sized", "with 1280 bytes: it is a block of 128";
    a_magazine_written_over: "corrupted-magazine" => "free", "it is not in any memory of this heap";
}
