//! The fleet example as processes: what happens when they die, hang or run out of memory.
//!
//! Every wait has a deadline far beyond what is needed, and no test asserts how long something took.

mod controllers;
mod driver;
mod prometheus;
mod role;
mod workers;
