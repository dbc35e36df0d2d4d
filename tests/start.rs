//! The heap's first use of all, in a program that already has threads and forks meanwhile.

mod common;

use std::sync::Barrier;

use capmalloc::raw;
use common::child::{Child, is_child};

/// Forks around the first use; each of them is a chance to fall into the midst of it.
const FORKS: usize = 20;

/// A child that is not done after so many seconds hangs, and is ended by a signal.
const CHILD_SECONDS: u32 = 20;

/// A block of this heap is had, and given back.
fn use_heap() {
    let block = raw::alloc(100).expect("a block");
    // SAFETY: the block is this one's, and given up.
    unsafe { raw::free(block) };
}

/// Forks a child that uses the heap, and ends.
fn fork_a_user() -> libc::pid_t {
    // SAFETY: the child runs nothing but the heap's own functions, and ends at once.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // SAFETY: sets this process's own clock, whose signal ends it.
        unsafe { libc::alarm(CHILD_SECONDS) };
        use_heap();
        // SAFETY: ends the child without a look at what belongs to the parent's threads.
        unsafe { libc::_exit(0) };
    }
    assert!(process > 0, "a fork");
    process
}

fn status_of(process: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process; the place for its status is ours.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    status
}

#[test]
fn a_fork_while_the_heap_starts_leaves_a_child_that_can_use_it() {
    if !is_child() {
        (0..5).for_each(|_| drop(Child::new().succeed()));
        return;
    }
    let begin = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            begin.wait();
            use_heap();
        });
        begin.wait();
        let children: Vec<_> = (0..FORKS).map(|_| fork_a_user()).collect();
        let statuses: Vec<_> = children.into_iter().map(status_of).collect();
        assert_eq!(statuses, [0; FORKS], "a child hung, or died");
    });
}
