//! A fleet of WebAssembly instances under each restart policy: what it costs, and what it saves.
//!
//! ```text
//! $ cargo run --release -p capmalloc-supervisor --example fleet
//! ```
//!
//! Without a subcommand it is the driver: for each policy and each seed it starts a controller, four
//! workers and a load generator, all of them processes of this same binary that talk HTTP over
//! loopback, lets them run, and prints a table and draws the memory over time. Time is accelerated:
//! at the factor of 100, the sample period of ten seconds lasts a tenth of a second. What is
//! measured and how is told in `docs/fleet.md`.

mod controller;
mod driver;
mod exposition;
mod load;
mod options;
mod plan;
mod process;
mod wire;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use options::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.command {
        None => driver::run(&options.experiment),
        Some(Command::Controller(role)) => controller::run(&role),
        Some(Command::Worker(role)) => worker::run(&role),
        Some(Command::Load(role)) => load::run(&role),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::FAILURE
        }
    }
}
