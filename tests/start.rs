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

/// Somebody else's part in a fork, which ends now before and now after the other thread's start.
extern "C" fn take_a_while() {
    let steps = u64::from(std::process::id() % 40);
    std::thread::sleep(std::time::Duration::from_micros(steps * 250));
}

/// Forks while another thread uses the heap first, several times, each in a process of its own.
fn fork_around_the_start() {
    if !is_child() {
        (0..20).for_each(|_| drop(Child::new().succeed()));
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

#[test]
fn a_fork_while_the_heap_starts_leaves_a_child_that_can_use_it() {
    fork_around_the_start();
}

/// The C library lets handlers be registered while it calls one, and does not call those in this
/// fork any more.
#[test]
fn a_fork_that_the_handlers_come_too_late_for_does_too() {
    if is_child() {
        // SAFETY: the handler takes and returns nothing and lives as long as the program.
        assert_eq!(unsafe { libc::pthread_atfork(Some(take_a_while), None, None) }, 0);
    }
    fork_around_the_start();
}
