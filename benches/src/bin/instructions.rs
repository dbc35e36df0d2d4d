//! One path on one allocator, for a tool that counts instructions from outside.
//!
//! - `instructions list` prints a line for each path: its name, how many iterations to do, and how
//!   many operations each of them is.
//! - `instructions run PATH ALLOCATOR ITERATIONS` does the work.
//!
//! What it costs to start is the same for any number of iterations. So a run with twice as many,
//! less a run with as many, is the work alone: see `ci/instructions.sh`.

use std::process::ExitCode;

use capmalloc_benches::paths::{PATHS, Path};
use capmalloc_benches::peers::PeerId;
use capmalloc_benches::workloads::Scale;

capmalloc_benches::program_peers!();

const USAGE: &str = "usage: instructions list | instructions run PATH ALLOCATOR ITERATIONS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("instructions: {message}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["list"] => {
            for path in PATHS {
                println!("{} {} {}", path.name, path.iterations, path.operations_per_iteration);
            }
            Ok(())
        }
        ["run", path, peer, iterations] => run(path, peer, iterations),
        _ => Err(USAGE.to_owned()),
    }
}

fn run(path: &str, peer: &str, iterations: &str) -> Result<(), String> {
    let path = Path::from_name(path).ok_or_else(|| format!("no path is called {path}"))?;
    let peer = PeerId::from_name(peer).ok_or_else(|| format!("no allocator is called {peer}"))?;
    let iterations =
        iterations.parse().map_err(|_| format!("{iterations} is not a number of iterations"))?;
    peers::open(peer, &path.work, Scale::Full).run(iterations);
    Ok(())
}
