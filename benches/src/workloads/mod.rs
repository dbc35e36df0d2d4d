//! What is done with an allocator, each workload generic over the peer.

mod burst;
mod crew;
mod growth;
mod handoff;
mod layouts;
mod pair;
mod replacement;
mod vec_push;

use std::time::Duration;

use crate::peers::Peer;

pub use burst::{Burst, Release};
pub use growth::Growth;
pub use handoff::Handoff;
pub use layouts::LayoutPair;
pub use pair::Pair;
pub use replacement::Replacement;
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

/// Work that is prepared and can be repeated.
///
/// The call through `dyn` happens once per measurement and not once per
/// operation: the loop over the iterations is inside `run`.
pub trait Run {
    /// Does the work `iterations` times and gives the time that took.
    fn run(&mut self, iterations: u64) -> Duration;
}
