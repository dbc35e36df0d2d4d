//! A pointer that is given back wrongly stops the program, with one line that names the pointer
//! and what was found.
//!
//! Each misuse has a process of its own, for it is the last thing that happens there. A small
//! block is looked at when it reaches its slab, which a trim or the end of a thread sees to.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::os::unix::process::ExitStatusExt as _;

use capmalloc::CapMalloc;
use common::child::{Child, is_child, tell};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// Holds that `misuse`, run in a process of its own, stops it over the pointer that it tells.
fn aborts(finding: &str, misuse: impl FnOnce()) {
    if is_child() {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is a valid one. Nobody wants the core of a process that dies on purpose.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        misuse();
        // Whatever waits in a cache or a depot is looked at now.
        capmalloc::trim();
        return;
    }
    let ending = Child::new().end();
    assert_eq!(ending.status.signal(), Some(libc::SIGABRT), "{ending}");
    let line = ending.complaints.strip_suffix('\n').expect("a whole line");
    let told = format!("capmalloc: free of {}", ending.value("pointer"));
    assert!(line.starts_with(&told) && !line.contains('\n'), "one line: {ending}");
    assert!(line.contains(finding), "{finding:?} is not what was found: {line}");
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

fn alloc(size: usize) -> *mut u8 {
    // SAFETY: a valid layout.
    let pointer = unsafe { GLOBAL.alloc(layout(size)) };
    assert!(!pointer.is_null(), "memory");
    pointer
}

fn free(pointer: *mut u8, size: usize) {
    // SAFETY: none in general: the wrong calls are what this file is about, and the allocator's
    // answer to them is to stop the process before it uses the memory.
    unsafe { GLOBAL.dealloc(pointer, layout(size)) };
}

/// Frees as `free` does, after the parent was told of which pointer it will hear.
fn free_wrongly(pointer: *mut u8, size: usize) {
    tell("pointer", format_args!("{pointer:p}"));
    free(pointer, size);
}

#[test]
fn a_small_block_given_back_twice() {
    aborts("a block of 48 bytes: it is free already", || {
        let block = alloc(48);
        free(block, 48);
        free_wrongly(block, 48);
    });
}

#[test]
fn a_small_block_given_back_twice_by_a_thread_that_ended() {
    aborts("it is free already", || {
        let misuse = || {
            let (block, _neighbour) = (alloc(48), alloc(48));
            free(block, 48);
            free_wrongly(block, 48);
        };
        std::thread::spawn(misuse).join().expect("it does not panic");
        // Its cache waits for the next thread, or for whoever gives back what is not needed.
        capmalloc::trim();
        unreachable!("the trim flushed the cache");
    });
}

/// Allocates and frees blocks that lie four to a slab of three pages, all but those of the first
/// slab, and then frees that one again which starts `offset` into the second.
///
/// The second slab's pages are the start of a free span then, and their descriptors in use for it.
fn free_again_after_the_slab_is_gone(offset: usize) {
    let blocks: Vec<*mut u8> = (0..400).map(|_| alloc(3000)).collect();
    let slab = blocks[4].addr();
    let is_wanted = |block: &&*mut u8| block.addr().checked_sub(slab) == Some(offset);
    let block = *blocks.iter().find(is_wanted).expect("blocks are cut in order");
    blocks[4..].iter().for_each(|block| free(*block, 3000));
    capmalloc::trim();
    free_wrongly(block, 3000);
}

#[test]
fn a_small_block_given_back_again_after_its_slab_is_gone() {
    aborts("a block of 3072 bytes: ", || free_again_after_the_slab_is_gone(0));
}

#[test]
fn a_small_block_on_a_later_page_given_back_again_after_its_slab_is_gone() {
    aborts("a block of 3072 bytes: ", || free_again_after_the_slab_is_gone(6144));
}

#[test]
fn a_small_block_given_back_as_a_larger_one() {
    aborts("as a block of 208 bytes: it is one of 48", || free_wrongly(alloc(48), 200));
}

#[test]
fn a_small_block_given_back_as_a_smaller_one() {
    aborts("as a block of 48 bytes: it is one of 208", || free_wrongly(alloc(200), 48));
}

#[test]
fn a_small_block_given_back_as_a_large_one() {
    aborts("no allocation of 100000 bytes starts there", || free_wrongly(alloc(48), 100_000));
}

#[test]
fn a_small_block_given_back_as_a_huge_one() {
    aborts("no allocation of 5000000 bytes starts there", || free_wrongly(alloc(48), 5_000_000));
}

#[test]
fn a_pointer_into_a_small_block() {
    aborts("no block of 48 bytes starts there", || free_wrongly(alloc(48).wrapping_add(8), 48));
}

#[test]
fn a_pointer_into_a_small_block_of_several_pages() {
    aborts("no block of 20480 bytes starts there", || {
        free_wrongly(alloc(20_000).wrapping_add(4096), 20_000);
    });
}

#[test]
fn a_pointer_to_the_stack() {
    aborts("it is not in any memory of this heap", || {
        let mut local = [0_u8; 64];
        free_wrongly(local.as_mut_ptr(), 48);
    });
}

#[test]
fn a_pointer_to_a_static() {
    static PLACE: [u64; 8] = [0; 8];
    aborts("it is not in any memory of this heap", || {
        free_wrongly(PLACE.as_ptr().cast_mut().cast(), 48);
    });
}

#[test]
fn a_pointer_that_nobody_has() {
    aborts("it is not in any memory of this heap", || {
        free_wrongly(core::ptr::without_provenance_mut(0xFFFF_FFFF_FFFF_F000), 48);
    });
}

#[test]
fn a_foreign_pointer_as_a_large_block() {
    aborts("no allocation of 100000 bytes starts there", || {
        let mut local = [0_u8; 64];
        free_wrongly(local.as_mut_ptr(), 100_000);
    });
}

#[test]
fn a_foreign_pointer_as_a_huge_block() {
    aborts("no allocation of 5000000 bytes starts there", || {
        let mut local = [0_u8; 64];
        free_wrongly(local.as_mut_ptr(), 5_000_000);
    });
}

#[test]
fn a_large_block_given_back_twice() {
    aborts("no allocation of 100000 bytes starts there", || {
        let block = alloc(100_000);
        free(block, 100_000);
        free_wrongly(block, 100_000);
    });
}

#[test]
fn a_large_block_given_back_twice_behind_a_free_one() {
    aborts("no allocation of 100000 bytes starts there", || {
        // The second is free twice while what is before it is free as well: the two are one span
        // then, in the middle of which nothing may look like an allocation.
        let [first, second, _third] = [alloc(100_000), alloc(100_000), alloc(100_000)];
        assert_eq!(second.addr() - first.addr(), 100_000_usize.next_multiple_of(4096));
        free(first, 100_000);
        free(second, 100_000);
        free_wrongly(second, 100_000);
    });
}

#[test]
fn a_large_block_given_back_with_another_size() {
    aborts("no allocation of 50000 bytes starts there", || free_wrongly(alloc(100_000), 50_000));
}

#[test]
fn a_large_block_given_back_as_a_small_one() {
    aborts("as a block of 48 bytes: no such blocks are there", || {
        free_wrongly(alloc(100_000), 48);
    });
}

#[test]
fn a_pointer_into_a_large_block() {
    aborts("no allocation of 100000 bytes starts there", || {
        free_wrongly(alloc(100_000).wrapping_add(4096), 100_000);
    });
}

#[test]
fn a_pointer_just_behind_the_start_of_a_large_block() {
    aborts("no allocation of 100000 bytes starts there", || {
        free_wrongly(alloc(100_000).wrapping_add(8), 100_000);
    });
}

#[test]
fn a_huge_block_given_back_twice() {
    aborts("no allocation of 5000000 bytes starts there", || {
        let block = alloc(5_000_000);
        free(block, 5_000_000);
        free_wrongly(block, 5_000_000);
    });
}

#[test]
fn a_pointer_into_a_huge_block() {
    aborts("no allocation of 5000000 bytes starts there", || {
        free_wrongly(alloc(5_000_000).wrapping_add(4096), 5_000_000);
    });
}

#[test]
fn a_huge_block_given_back_with_another_size() {
    aborts("no allocation of 9000000 bytes starts there", || {
        free_wrongly(alloc(5_000_000), 9_000_000);
    });
}

#[test]
fn a_huge_block_given_back_as_a_small_one() {
    aborts("it is not in any memory of this heap", || free_wrongly(alloc(5_000_000), 48));
}

#[test]
fn a_program_without_fault_is_left_alone() {
    if is_child() {
        for size in [0, 48, 3000, 20_000, 100_000, 5_000_000] {
            free(alloc(size), size);
        }
        capmalloc::trim();
        return;
    }
    assert_eq!(Child::new().succeed().complaints, "");
}
