//! Threads that stay, so that starting them is never part of a measurement.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Run;

/// When one thread began and ended its share of the work.
struct Span {
    start: Instant,
    end: Instant,
}

/// A fixed set of threads that each repeat their own work at the same time.
pub(crate) struct Crew {
    orders: Vec<Sender<u64>>,
    reports: Receiver<Span>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts `thread_count` threads. Each makes its own work by calling
    /// `open` with its index, so the memory it starts with is its own too.
    pub(crate) fn new<F, W>(thread_count: usize, open: F) -> Self
    where
        F: Fn(usize) -> W + Clone + Send + 'static,
        W: FnMut(u64),
    {
        let barrier = Arc::new(Barrier::new(thread_count));
        let (report, reports) = channel();
        let mut crew = Self { orders: Vec::new(), reports, threads: Vec::new() };
        for index in 0..thread_count {
            let (order, orders) = channel();
            let (report, barrier, open) = (report.clone(), Arc::clone(&barrier), open.clone());
            crew.orders.push(order);
            crew.threads.push(std::thread::spawn(move || {
                serve(open(index), &orders, &report, &barrier);
            }));
        }
        crew
    }

    /// Waits for every thread's report and gives the time from the first
    /// start to the last end. The threads read the clock themselves because
    /// waking the waiting thread takes tens of microseconds.
    fn wall_time(&self) -> Duration {
        let spans: Vec<Span> = (0..self.threads.len())
            .map(|_| self.reports.recv().expect("a thread of the crew panicked"))
            .collect();
        let start = spans.iter().map(|span| span.start).min();
        let end = spans.iter().map(|span| span.end).max();
        end.expect("a crew has threads") - start.expect("a crew has threads")
    }
}

/// The life of one thread: do as ordered until there are no more orders.
fn serve(
    mut work: impl FnMut(u64),
    orders: &Receiver<u64>,
    report: &Sender<Span>,
    barrier: &Barrier,
) {
    while let Ok(iterations) = orders.recv() {
        barrier.wait();
        let start = Instant::now();
        work(iterations);
        let end = Instant::now();
        if report.send(Span { start, end }).is_err() {
            return;
        }
    }
}

impl Run for Crew {
    fn run(&mut self, iterations: u64) -> Duration {
        for order in &self.orders {
            order.send(iterations).expect("a thread of the crew ended");
        }
        self.wall_time()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.orders.clear();
        for thread in self.threads.drain(..) {
            // A panic was already reported by the thread itself, and a second
            // one while unwinding would abort without a message.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static ITERATIONS_DONE: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn every_thread_does_every_iteration() {
        let mut crew = Crew::new(3, |_| {
            |iterations| {
                ITERATIONS_DONE.fetch_add(iterations, Ordering::Relaxed);
            }
        });
        crew.run(5);
        crew.run(7);
        assert_eq!(ITERATIONS_DONE.load(Ordering::Relaxed), 36);
    }

    #[test]
    fn the_time_covers_the_slowest_thread() {
        let slow = Duration::from_millis(20);
        let mut crew = Crew::new(2, move |index| move |_| std::thread::sleep(slow * index as u32));
        assert!(crew.run(1) >= slow);
    }
}
