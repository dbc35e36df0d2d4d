//! A job server measured under several allocators, each in a process of its own.
//!
//! The memory that a cap on arenas saves shows in one kind of program above all: a pool of worker
//! threads that parse, transform and render documents, wait on other services while they hold
//! their data, and leave part of each result in a cache from which any thread may evict it. This
//! example is such a server, behind a TCP listener on loopback, with its load generator in a
//! process of its own.
//!
//! ```text
//! cargo run --release --example job_server             # every row, three rounds
//! cargo run --release --example job_server -- --quick  # every row once, in under twenty seconds
//! ```
//!
//! The one binary plays three parts. The supervisor (the command one types) starts, for each row of
//! its table, one load generator and one server, samples the server's memory while it works, and
//! prints the table. Which allocator the server uses is read from its environment before its first
//! allocation, so every row runs the same machine code on the same requests.

mod allocator;
mod cache;
mod children;
mod control;
mod corpus;
mod downstream;
mod interrupt;
mod job;
mod load;
mod measurement;
mod memory;
mod options;
mod progress;
mod ready;
mod report;
mod row;
mod server;
mod supervisor;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::allocator::EnvironmentChoice;
use crate::children::RunError;
use crate::options::{Options, Part};

#[global_allocator]
static ALLOCATOR: EnvironmentChoice = EnvironmentChoice::new();

/// What a shell reports for a program that an interrupt ended: 128 + SIGINT.
const INTERRUPTED_STATUS: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.part {
        Some(Part::Serve(serve)) => server::run(serve).map_err(RunError::from),
        Some(Part::Generate(generate)) => load::run(generate).map_err(RunError::from),
        None => supervise(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Interrupted) => {
            eprintln!("interrupted; every process it started has ended");
            ExitCode::from(INTERRUPTED_STATUS)
        }
        Err(RunError::Failed(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(options: &Options) -> Result<(), RunError> {
    if !cfg!(target_env = "gnu") {
        let reason = "this compares with glibc's malloc, but is built for another C library";
        return Err(RunError::Failed(reason.to_owned()));
    }
    supervisor::run(options)
}
