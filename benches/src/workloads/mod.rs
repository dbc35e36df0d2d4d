//! What is done with an allocator, each workload generic over the peer.

mod burst;
mod crew;
mod exchange;
mod growth;
mod handoff;
mod pair;
mod replacement;
mod server;
mod short_threads;
mod vec_push;

use std::time::Duration;

use crate::peers::Peer;

pub use burst::{Burst, Release};
pub use exchange::Exchange;
pub use growth::Growth;
pub use handoff::Handoff;
pub use pair::Pair;
pub use replacement::Replacement;
pub use server::Server;
pub use short_threads::ShortThreads;
pub use vec_push::VecPush;

/// How large a workload is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The size that is measured.
    Full,
    /// A size that only shows the workload to work, for test runs.
    Smoke,
}

/// A kind of work, with its parameters, that can be done by any peer.
pub trait Workload {
    /// Prepares the work on the peer `P`: tables, threads and random choices
    /// are made here so that their cost is never measured.
    fn open<P: Peer>(&self, scale: Scale) -> Box<dyn Run>;
}

/// Any of the workloads, so that a table of them is data and knows no peer.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// See [`Burst`].
    Burst(Burst),
    /// See [`Exchange`].
    Exchange(Exchange),
    /// See [`Growth`].
    Growth(Growth),
    /// See [`Handoff`].
    Handoff(Handoff),
    /// See [`Pair`].
    Pair(Pair),
    /// See [`Replacement`].
    Replacement(Replacement),
    /// See [`Server`].
    Server(Server),
    /// See [`ShortThreads`].
    ShortThreads(ShortThreads),
    /// See [`VecPush`].
    VecPush(VecPush),
}

impl Workload for Work {
    fn open<P: Peer>(&self, scale: Scale) -> Box<dyn Run> {
        match self {
            Self::Burst(work) => work.open::<P>(scale),
            Self::Exchange(work) => work.open::<P>(scale),
            Self::Growth(work) => work.open::<P>(scale),
            Self::Handoff(work) => work.open::<P>(scale),
            Self::Pair(work) => work.open::<P>(scale),
            Self::Replacement(work) => work.open::<P>(scale),
            Self::Server(work) => work.open::<P>(scale),
            Self::ShortThreads(work) => work.open::<P>(scale),
            Self::VecPush(work) => work.open::<P>(scale),
        }
    }
}

/// Work that is prepared and can be repeated.
///
/// The call through `dyn` happens once per measurement and not once per
/// operation: the loop over the iterations is inside `run`.
pub trait Run {
    /// Does the work `iterations` times and gives the time that took.
    fn run(&mut self, iterations: u64) -> Duration;
}
