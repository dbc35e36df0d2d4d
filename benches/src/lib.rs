//! capmalloc measured beside its peers.
//!
//! Every allocator runs the same generic workload code and is called the way
//! a program with a `#[global_allocator]` calls it: through a function that is
//! never inlined, and compiled in the program that measures. The layers are
//!
//! - [`peers`]: which allocators are compared, and how each is called;
//! - [`workloads`]: what is done with an allocator, one small module each;
//! - [`rows`]: the table of measurements, with their targets;
//! - [`paths`]: the table of paths whose instructions are counted;
//! - [`measurement`]: one row taken once on one peer;
//! - [`summary`]: the rows measured interleaved, as one table of ratios;
//! - [`arguments`]: what the command line of a bench asks for;
//! - [`fragmentation`]: the bench of memory, which has whole processes of its own for each figure;
//! - [`trace`]: allocation traces of real programs, and their replay;
//! - [`report`]: what the bench of memory measured, for a person to read.
//!
//! To add an allocator, add one line to `every_peer!` in [`peers`]. To add
//! a measurement, write a workload and add one entry to [`rows::ROWS`].

pub mod arguments;
mod block;
pub mod fragmentation;
pub mod measurement;
pub mod paths;
pub mod peers;
mod random;
pub mod report;
pub mod rows;
mod statistics;
pub mod summary;
mod table;
#[cfg(test)]
mod test_peers;
mod threads;
pub mod trace;
pub mod workloads;
