//! What threads allocate and free while they end, before and after their cache is gone.
//!
//! A thread ends in two parts: first thread-locals are dropped, then the destructors of POSIX keys
//! run, in up to four rounds while they leave values behind. The allocator's own destructor is one
//! of these, and its key was made before any that a program makes, so that a program's destructors
//! run after it in every round.

mod common;

use std::alloc::{GlobalAlloc as _, Layout};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::mpsc::{Sender, channel};

use capmalloc::CapMalloc;
use common::account::leaves_nothing_behind;
use common::block::Block;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// Rounds of destructors that POSIX promises at least, and the usual C library's number.
const ROUNDS: usize = 4;

/// Blocks of each route, some of them gone again.
fn some_blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = (0..100).map(|index| Block::of_size(index * 17)).collect();
    blocks.push(Block::of_size(50_000));
    blocks.push(Block::of_size(3 << 20));
    blocks.drain(20..60).for_each(Block::release);
    blocks
}

/// Allocates, resizes and frees, in a state of the thread of which little is known.
fn use_the_allocator(blocks: &mut Vec<Block>) {
    blocks.drain(..blocks.len() / 2).for_each(Block::release);
    for block in blocks.iter_mut() {
        assert!(block.resize(block.layout().size() * 2), "memory");
    }
    blocks.extend(some_blocks());
}

/// Blocks that are used once more when the thread drops them, and then sent away.
struct Legacy {
    blocks: Vec<Block>,
    heir: Option<Sender<Vec<Block>>>,
}

impl Drop for Legacy {
    fn drop(&mut self) {
        use_the_allocator(&mut self.blocks);
        // The other thread-local may be gone, or begin only now and be dropped after this one.
        let _ = SECOND.try_with(|second| use_the_allocator(&mut second.borrow_mut().blocks));
        if let Some(heir) = &self.heir {
            heir.send(core::mem::take(&mut self.blocks)).expect("somebody inherits");
        }
    }
}

thread_local! {
    static FIRST: RefCell<Legacy> = RefCell::new(Legacy { blocks: some_blocks(), heir: None });
    static SECOND: RefCell<Legacy> = RefCell::new(Legacy { blocks: some_blocks(), heir: None });
}

#[test]
fn thread_locals_allocate_and_free_while_they_are_dropped() {
    leaves_nothing_behind(|| {
        let (heir, legacies) = channel();
        for _ in 0..60 {
            let heir = heir.clone();
            let thread = std::thread::spawn(|| {
                FIRST.with_borrow_mut(|first| first.heir = Some(heir));
            });
            thread.join().expect("dropping thread-locals panics nowhere");
        }
        drop(heir);
        let legacies: Vec<Vec<Block>> = legacies.into_iter().collect();
        assert_eq!(legacies.len(), 60, "each thread's destructor came to its end");
        legacies.into_iter().flatten().for_each(Block::release);
    });
}

/// What a thread leaves behind at a key.
struct Value {
    key: libc::pthread_key_t,
    /// The round of destructors that comes next.
    round: usize,
    /// The round from which on the destructor uses the allocator.
    from_round: usize,
    blocks: Vec<Block>,
    heir: Sender<Vec<Block>>,
}

impl Value {
    /// Makes this the calling thread's value, so that the destructor gets it.
    fn leave_behind(self: Box<Value>) {
        let (key, value) = (self.key, Box::into_raw(self));
        // SAFETY: the key exists, and its destructor takes what is left here.
        assert_eq!(unsafe { libc::pthread_setspecific(key, value.cast()) }, 0, "room for a value");
    }

    /// Takes back what was left behind or handed to a thread.
    ///
    /// # Safety
    ///
    /// The pointer was made of a box, and is not taken again.
    unsafe fn take(value: *mut c_void) -> Box<Value> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { Box::from_raw(value.cast()) }
    }
}

unsafe extern "C" fn destroy(value: *mut c_void) {
    // SAFETY: the key holds nothing but boxes, and each round gets the value once.
    let mut value = unsafe { Value::take(value) };
    if value.round >= value.from_round {
        use_the_allocator(&mut value.blocks);
    }
    if value.round < ROUNDS {
        value.round += 1;
        value.leave_behind();
    } else {
        value.heir.send(value.blocks).expect("somebody inherits");
    }
}

/// Makes threads by `run`, each with a value of its own, and frees what they leave to their heir.
fn end_threads(from_round: usize, run: impl Fn(Box<Value>)) {
    const THREADS: usize = 60;
    drop(Block::of_size(1));
    let mut key = 0;
    // SAFETY: `destroy` has the signature of a key's destructor, and the key's place is ours.
    let status = unsafe { libc::pthread_key_create(&mut key, Some(destroy)) };
    assert_eq!(status, 0, "a key, made after the allocator made its own");
    let (heir, legacies) = channel();
    for _ in 0..THREADS {
        let (blocks, heir) = (some_blocks(), heir.clone());
        run(Box::new(Value { key, round: 1, from_round, blocks, heir }));
    }
    drop(heir);
    let legacies: Vec<Vec<Block>> = legacies.into_iter().collect();
    assert_eq!(legacies.len(), THREADS, "each thread's destructor ran all its rounds");
    legacies.into_iter().flatten().for_each(Block::release);
}

#[test]
fn destructors_allocate_and_free_after_the_cache_is_gone() {
    leaves_nothing_behind(|| {
        end_threads(1, |value| {
            let thread = std::thread::spawn(|| value.leave_behind());
            thread.join().expect("destructors do not panic");
        });
    });
}

/// Runs `body` in a thread that the standard library knows nothing of, and so allocates nothing in.
fn run_in_bare_thread(body: extern "C" fn(*mut c_void) -> *mut c_void, value: Box<Value>) {
    let mut thread = 0;
    // SAFETY: the body has the signature of a thread's and takes the value back; the thread is
    // joined right away.
    unsafe {
        let argument = Box::into_raw(value).cast();
        let status = libc::pthread_create(&mut thread, core::ptr::null(), body, argument);
        assert_eq!(status, 0, "a thread");
        assert_eq!(libc::pthread_join(thread, core::ptr::null_mut()), 0, "its end");
    }
}

extern "C" fn end_at_once(value: *mut c_void) -> *mut c_void {
    // SAFETY: `run_in_bare_thread` passes a box's pointer, and this is its one user.
    unsafe { Value::take(value) }.leave_behind();
    core::ptr::null_mut()
}

#[test]
fn a_thread_may_allocate_for_the_first_time_in_a_destructor() {
    leaves_nothing_behind(|| end_threads(1, |value| run_in_bare_thread(end_at_once, value)));
}

extern "C" fn end_after_a_huge_block(value: *mut c_void) -> *mut c_void {
    // SAFETY: a valid layout, and the block goes back with it.
    unsafe {
        let layout = Layout::new::<[u64; 1 << 20]>();
        let block = GLOBAL.alloc(layout);
        GLOBAL.dealloc(block, layout);
    }
    end_at_once(value)
}

#[test]
fn a_thread_whose_end_was_told_gets_no_cache_any_more() {
    // The allocator knows of the thread by its huge block, and hears of its end in the first
    // round; a cache made in the last would outlive the thread, for nobody is told again.
    leaves_nothing_behind(|| {
        end_threads(ROUNDS, |value| run_in_bare_thread(end_after_a_huge_block, value));
    });
}

extern "C" fn free_a_large_block(block: *mut c_void) -> *mut c_void {
    // SAFETY: the block is of this layout, and its maker gave it to this thread.
    unsafe { GLOBAL.dealloc(block.cast(), Layout::new::<[u8; 100_000]>()) };
    core::ptr::null_mut()
}

#[test]
fn a_thread_that_begins_with_the_free_of_a_large_block_is_told_of_at_its_end() {
    leaves_nothing_behind(|| {
        // SAFETY: a valid layout, whose size is not zero.
        let block = unsafe { GLOBAL.alloc(Layout::new::<[u8; 100_000]>()) };
        assert!(!block.is_null());
        let before = capmalloc::stats().threads;
        let mut thread = 0;
        // SAFETY: the function has the signature of a thread's, and the thread is joined at once.
        unsafe {
            let (attributes, argument) = (core::ptr::null(), block.cast());
            let status =
                libc::pthread_create(&mut thread, attributes, free_a_large_block, argument);
            assert_eq!(status, 0, "a thread");
            assert_eq!(libc::pthread_join(thread, core::ptr::null_mut()), 0, "its end");
        }
        // A cache that stayed would point into the memory of a thread that is gone.
        assert_eq!(capmalloc::stats().threads, before);
    });
}
