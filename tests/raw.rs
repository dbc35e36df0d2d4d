//! The heap for callers that have only a pointer: what `malloc` and its relations are written on.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::os::unix::process::ExitStatusExt as _;
use std::ptr::NonNull;

use capmalloc::raw::{self, PointerError};
use capmalloc::{CapMalloc, check};
use common::child::{Child, is_child, tell};
use proptest::prelude::*;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// A block as C would have it, filled with a pattern of its own.
#[derive(Debug)]
struct Block {
    pointer: NonNull<u8>,
    size: usize,
    mark: u8,
}

impl Block {
    fn new(pointer: Option<NonNull<u8>>, size: usize, mark: u8) -> Block {
        let pointer = pointer.expect("memory");
        let usable_bytes = raw::usable_bytes(pointer).expect("a block");
        assert!(usable_bytes >= size, "{usable_bytes} for {size}");
        let block = Block { pointer, size, mark };
        // All that may be used is used, so that a figure too high would break a neighbour.
        // SAFETY: the block is this one's, and so long.
        unsafe { pointer.write_bytes(mark, usable_bytes) };
        block
    }

    fn holds_its_mark(&self, bytes: usize) {
        // SAFETY: the block is at least so long, and was filled.
        let held = unsafe { core::slice::from_raw_parts(self.pointer.as_ptr(), bytes) };
        assert!(held.iter().all(|byte| *byte == self.mark), "{self:?}");
    }

    fn resize(&mut self, size: usize) {
        self.holds_its_mark(self.size);
        // SAFETY: the block is this one's, which gives the old pointer up.
        self.pointer = unsafe { raw::realloc(self.pointer, size) }.expect("memory");
        self.holds_its_mark(self.size.min(size));
        *self = Block::new(Some(self.pointer), size, self.mark);
    }

    fn free(self) {
        self.holds_its_mark(self.size);
        // SAFETY: the block is this one's, and given up.
        unsafe { raw::free(self.pointer) };
    }
}

#[derive(Clone, Debug)]
enum Action {
    Alloc(usize),
    AllocZeroed(usize),
    AllocAligned(usize, u32),
    Realloc(usize, usize),
    Free(usize),
    FreeSized(usize),
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..200_usize,
        4 => 0..40_000_usize,
        2 => 32_000..300_000_usize,
        1 => 1_000_000..5_000_000_usize,
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        size().prop_map(Action::Alloc),
        size().prop_map(Action::AllocZeroed),
        (size(), 0..23_u32).prop_map(|(size, shift)| Action::AllocAligned(size, shift)),
        (any::<usize>(), size()).prop_map(|(which, size)| Action::Realloc(which, size)),
        any::<usize>().prop_map(Action::Free),
        any::<usize>().prop_map(Action::FreeSized),
    ]
}

fn is_aligned(block: &Block, align: usize) -> bool {
    block.pointer.addr().get().is_multiple_of(align)
}

fn act(blocks: &mut Vec<(Block, bool)>, action: Action, mark: u8) {
    let which = |index: usize, blocks: &Vec<_>| (!blocks.is_empty()).then(|| index % blocks.len());
    match action {
        Action::Alloc(size) => {
            let block = Block::new(raw::alloc(size), size, mark);
            assert!(is_aligned(&block, if size <= 8 { 8 } else { 16 }));
            blocks.push((block, false));
        }
        Action::AllocZeroed(size) => {
            let pointer = raw::alloc_zeroed(size).expect("memory");
            let mut zeroed = Block { pointer, size, mark: 0 };
            zeroed.holds_its_mark(size);
            zeroed = Block::new(Some(pointer), size, mark);
            blocks.push((zeroed, false));
        }
        Action::AllocAligned(size, shift) => {
            let block = Block::new(raw::alloc_aligned(size, 1 << shift), size, mark);
            assert!(is_aligned(&block, 1 << shift), "{block:?}");
            blocks.push((block, true));
        }
        Action::Realloc(index, size) => {
            if let Some(index) = which(index, blocks) {
                let (block, is_aligned_specially) = &mut blocks[index];
                block.resize(size);
                assert!(is_aligned(block, if size <= 8 { 8 } else { 16 }) || *is_aligned_specially);
            }
        }
        Action::Free(index) => {
            if let Some(index) = which(index, blocks) {
                blocks.swap_remove(index).0.free();
            }
        }
        Action::FreeSized(index) => {
            if let Some(index) = which(index, blocks)
                && !blocks[index].1
            {
                let (block, _) = blocks.swap_remove(index);
                block.holds_its_mark(block.size);
                // SAFETY: the block is this one's, of this size, and given up.
                unsafe { raw::free_sized(block.pointer, block.size) };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_keep_what_is_written_to_them(
        actions in prop::collection::vec(action(), 1..120),
    ) {
        let mut blocks = Vec::new();
        for (mark, action) in actions.into_iter().enumerate() {
            act(&mut blocks, action, mark as u8 | 1);
        }
        check();
        blocks.into_iter().for_each(|(block, _)| block.free());
        check();
    }
}

#[test]
fn blocks_of_rust_and_of_c_are_of_one_heap() {
    for size in [1, 24, 40, 200, 5000, 100_000, 3 << 20] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        // SAFETY: each block is allocated here, and given back once, with its layout or by its
        // pointer alone.
        unsafe {
            let block = NonNull::new(GLOBAL.alloc(layout)).expect("memory");
            assert!(raw::usable_bytes(block).expect("a block") >= size);
            raw::free(block);
            let align = if size <= 8 { 8 } else { 16 };
            let block = raw::alloc(size).expect("memory");
            GLOBAL.dealloc(block.as_ptr(), Layout::from_size_align(size, align).expect("a layout"));
        }
    }
    capmalloc::trim();
    check();
}

#[test]
fn what_cannot_be_had_gives_none_and_loses_nothing() {
    let block = raw::alloc(100).expect("memory");
    for size in [usize::MAX, isize::MAX as usize, isize::MAX as usize + 1, 1 << 60] {
        assert_eq!(raw::alloc(size), None);
        assert_eq!(raw::alloc_zeroed(size), None);
        assert_eq!(raw::alloc_aligned(size, 64), None);
        // SAFETY: the block is this test's, and stays where the answer is none.
        assert_eq!(unsafe { raw::realloc(block, size) }, None);
        assert_eq!(raw::usable_bytes(block), Ok(112));
    }
    for align in [0, 3, 1 << 63] {
        assert_eq!(raw::alloc_aligned(8, align), None, "{align}");
    }
    // SAFETY: the block is this test's, and given up.
    unsafe { raw::free(block) };
}

#[test]
fn pointers_that_lead_to_no_block_are_told() {
    let on_stack = 0_u64;
    assert_eq!(raw::usable_bytes(NonNull::from_ref(&on_stack).cast()), Err(PointerError::NotOurs));
    for size in [100, 5000, 100_000, 3 << 20] {
        let block = raw::alloc(size).expect("memory");
        // SAFETY: within the block.
        let inside = unsafe { block.add(16) };
        let error = raw::usable_bytes(inside).expect_err("no block starts there");
        let is_mapping = size > 2 << 20;
        let expected = if is_mapping { PointerError::NotOurs } else { PointerError::NoBlock };
        assert_eq!(error, expected, "{size}");
        // SAFETY: the block is this test's, and given up.
        unsafe { raw::free(block) };
    }
}

#[test]
fn a_large_block_given_back_waits_in_the_threads_cache() {
    let block = raw::alloc(100_000).expect("memory");
    // SAFETY: the block is this test's, and given up.
    unsafe { raw::free(block) };
    assert_eq!(raw::usable_bytes(block), Err(PointerError::Free));
    let again = raw::alloc(100_000).expect("memory");
    assert_eq!(again.addr(), block.addr(), "the same span");
    assert_eq!(raw::usable_bytes(again), Ok(102_400));
    // SAFETY: the block is this test's, and given up.
    unsafe { raw::free(again) };
}

/// Holds that `misuse`, in a process of its own, ends it over `function` and the pointer it tells.
fn aborts(function: &str, finding: &str, misuse: impl FnOnce()) {
    if is_child() {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is a valid one; nobody wants this core.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        misuse();
        capmalloc::trim();
        return;
    }
    let ending = Child::new().end();
    assert_eq!(ending.status.signal(), Some(libc::SIGABRT), "{ending}");
    let told = format!("capmalloc: {function} of {}", ending.value("pointer"));
    let line = &ending.complaints;
    assert!(line.starts_with(&told) && line.trim_end().lines().count() == 1, "{ending}");
    assert!(line.contains(finding), "{finding:?} is not what was found: {line}");
}

fn wrongly<T>(pointer: NonNull<u8>, call: impl FnOnce(NonNull<u8>) -> T) {
    tell("pointer", format_args!("{pointer:p}"));
    call(pointer);
}

#[test]
fn a_foreign_pointer_given_back() {
    aborts("free", "it is not in any memory", || {
        let on_stack = 0_u128;
        // SAFETY: none: this is what ends the process.
        wrongly(NonNull::from_ref(&on_stack).cast(), |pointer| unsafe { raw::free(pointer) });
    });
}

#[test]
fn a_pointer_into_a_large_block_given_back() {
    aborts("free", "no allocation starts there", || {
        let block = raw::alloc(100_000).expect("memory");
        // SAFETY: none: this is what ends the process.
        wrongly(unsafe { block.add(4096) }, |pointer| unsafe { raw::free(pointer) });
    });
}

#[test]
fn a_pointer_into_a_small_block_resized() {
    aborts("realloc", "no allocation starts there", || {
        let block = raw::alloc(5000).expect("memory");
        // SAFETY: none: this is what ends the process.
        wrongly(unsafe { block.add(16) }, |pointer| unsafe { raw::realloc(pointer, 5000) });
    });
}

#[test]
fn a_small_block_given_back_with_another_size() {
    aborts("free_sized", "with 200 bytes: it is a block of 48", || {
        let block = raw::alloc(48).expect("memory");
        // SAFETY: none: this is what ends the process.
        wrongly(block, |pointer| unsafe { raw::free_sized(pointer, 200) });
    });
}

#[test]
fn a_large_block_given_back_with_another_size() {
    aborts("free_aligned_sized", "with 48 bytes: it is a block of 8192", || {
        let block = raw::alloc_aligned(8192, 8192).expect("memory");
        // SAFETY: none: this is what ends the process.
        wrongly(block, |pointer| unsafe { raw::free_aligned_sized(pointer, 64, 48) });
    });
}

#[test]
fn a_large_block_given_back_twice() {
    aborts("free", "it is free already", || {
        let block = raw::alloc(100_000).expect("memory");
        // SAFETY: none: the second is what ends the process.
        unsafe { raw::free(block) };
        // SAFETY: none, as said.
        wrongly(block, |pointer| unsafe { raw::free(pointer) });
    });
}
