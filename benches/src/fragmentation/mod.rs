//! The bench of memory: what an allocator holds during a load and after it, and what that cost.
//!
//! - `dispatch`: one global allocator that is another in each process;
//! - `contenders`: which allocators with which settings, the columns of a comparison;
//! - `rows`: which loads, with one small module each in `workloads`;
//! - `stage`: where a load runs, and how its process tells what it held and took;
//! - `ledger`: a page that such a process shares with the one that watches it;
//! - `memory`, `usage`, `meter`: what the kernel and the clock say of a process;
//! - `upkeep`: what each allocator offers to give memory back;
//! - `observation`, `samples`: a process from outside, its memory over time;
//! - `comparison`: all rows, on all contenders, in all rounds;
//! - what comes of it goes to `crate::report`, which writes it for people and for programs;
//! - `table`: medians of all rounds as a table;
//! - `arguments`: the command line.
//!
//! An allocator that is added to the peers is in every comparison. To add a load, write a workload
//! and add one entry to `rows::ROWS`.

mod arguments;
mod block;
mod comparison;
mod contenders;
mod dispatch;
mod ledger;
mod memory;
mod meter;
mod observation;
mod rows;
mod samples;
mod scale;
mod stage;
mod table;
mod upkeep;
mod usage;
mod workloads;

// What the tests of the allocator look at memory with is what it is compared with.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../tests/common/herd.rs"]
mod herd;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../tests/common/resident.rs"]
mod resident;

pub use arguments::Mode;
pub use dispatch::Dispatch;
pub use usage::counted_madvise;
