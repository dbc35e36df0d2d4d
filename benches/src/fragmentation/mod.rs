//! The bench of memory: what an allocator holds when a load is over, and what that cost.
//!
//! - `dispatch`: one global allocator that is another in each process;
//! - `contenders`: which allocators with which settings, the columns of a comparison;
//! - `rows`: which loads, with one small module each in `workloads`;
//! - `stage`: where a load runs, and how its process tells what it holds at rest;
//! - `observation`: a process from outside: its memory over time, its CPU time;
//! - `report`: medians of all rounds as a table;
//! - `arguments`: the command line.
//!
//! To add an allocator, add it to the peers and one entry to `contenders::CONTENDERS`. To add a
//! load, write a workload and add one entry to `rows::ROWS`.

mod arguments;
mod block;
mod contenders;
mod dispatch;
mod observation;
mod report;
mod rows;
mod stage;
mod workloads;

// What the tests of the allocator look at memory with is what it is compared with.
#[path = "../../../tests/common/herd.rs"]
mod herd;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../tests/common/resident.rs"]
mod resident;

pub use arguments::Mode;
pub use dispatch::Dispatch;
