//! A server whose threads hand their live blocks on to fresh threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::replacement::Table;
use super::{Replacement, Run, Scale, Workload};
use crate::peers::Peer;
use crate::threads::Thread;

/// As the server of Larson and Krishnan: each thread replaces random blocks of a table for a while
/// and ends, and a fresh thread goes on with the table of another. So blocks outlive the threads
/// that allocated them, and are freed by threads that did not exist then.
///
/// One iteration is one replacement on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The tables, and how many threads work at once.
    pub tables: Replacement,
    /// How many blocks each thread replaces before it ends.
    pub replacements_per_thread: u64,
}

impl Workload for Server {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        let table = |index| Arc::new(Mutex::new(Table::<P>::new(&self.tables, index as u64)));
        let tables = (0..self.tables.threads).map(table).collect();
        Box::new(Generations { server: *self, tables })
    }
}

struct Generations<P: Peer> {
    server: Server,
    tables: Vec<Arc<Mutex<Table<P>>>>,
}

impl<P: Peer> Generations<P> {
    /// Lets a fresh thread for each table replace so many blocks, and waits for their ends.
    fn live(&self, replacements: u64, running: &mut Vec<Thread>) {
        for table in &self.tables {
            let table = Arc::clone(table);
            running.push(Thread::start::<P, _>(move || {
                // Nobody else has it: the thread before has ended.
                table.lock().unwrap_or_else(PoisonError::into_inner).replace(replacements);
            }));
        }
        running.clear();
    }
}

impl<P: Peer> Run for Generations<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let mut running = Vec::with_capacity(self.tables.len());
        let mut left = iterations;
        let start = Instant::now();
        while left > 0 {
            let replacements = left.min(self.server.replacements_per_thread);
            self.live(replacements, &mut running);
            // The thread that starts first is to get another table each time.
            self.tables.rotate_left(1);
            left -= replacements;
        }
        start.elapsed()
    }
}
