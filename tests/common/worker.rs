//! A thread that does one thing at a time and waits in between, so that tests with several threads
//! do the same each time they are run.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// What the thread and its master tell each other.
///
/// A lock and a condition variable rather than channels, for these wait without allocating: a
/// worker that has nothing to do leaves the heap alone.
#[derive(Default)]
struct Desk {
    order: Mutex<Order>,
    changed: Condvar,
}

/// From the master: `Run` and `End`. From the thread: that it is at work, done, or lost.
#[derive(Default)]
enum Order {
    #[default]
    Done,
    Run(Job),
    AtWork,
    Failed,
    End,
}

impl Desk {
    fn put(&self, order: Order) {
        *self.order.lock().expect("nobody panics with the lock") = order;
        self.changed.notify_all();
    }

    /// Waits for a message that `is_wanted`, and leaves another in its place.
    fn exchange(&self, is_wanted: impl Fn(&Order) -> bool, left: Order) -> Order {
        let order = self.order.lock().expect("nobody panics with the lock");
        let order = self.changed.wait_while(order, |order| !is_wanted(order));
        core::mem::replace(&mut *order.expect("nobody panics with the lock"), left)
    }

    fn obey(&self) {
        let is_order = |order: &Order| matches!(order, Order::Run(_) | Order::End);
        while let Order::Run(job) = self.exchange(is_order, Order::AtWork) {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            self.put(if outcome.is_ok() { Order::Done } else { Order::Failed });
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
}

/// A thread under orders; it ends when it is dropped.
pub(crate) struct Worker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thread = self.thread.as_ref().map(|thread| thread.thread().id());
        formatter.debug_tuple("Worker").field(&thread).finish()
    }
}

impl Worker {
    pub(crate) fn start() -> Worker {
        let desk = Arc::new(Desk::default());
        let of_thread = Arc::clone(&desk);
        let thread = Some(std::thread::spawn(move || of_thread.obey()));
        Worker { desk, thread }
    }

    /// Has the thread run `job`, and waits until it is done.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.desk.put(Order::Run(Box::new(job)));
        let is_over = |order: &Order| matches!(order, Order::Done | Order::Failed);
        let outcome = self.desk.exchange(is_over, Order::Done);
        assert!(matches!(outcome, Order::Done), "a worker panicked; its message is above");
    }

    /// Waits until the thread is gone.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.desk.put(Order::End);
        // Whether it panicked, `run` has told already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
