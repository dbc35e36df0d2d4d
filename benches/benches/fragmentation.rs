//! How much memory capmalloc holds beside its peers, and at what cost in CPU time.
//!
//! - `cargo bench --bench fragmentation` measures every row on every allocator;
//!   `--rows idle_connections,size_drift`, `--allocators system,capmalloc` and `--rounds 9` choose
//!   what and how often.
//! - `--stats` has capmalloc print its own figures at rest, to standard error.
//! - `--test` runs everything once and small: that it works, not what it measures.
//!
//! Each figure comes from a process of its own, in which the allocator serves everything that Rust
//! code asks for.

use std::process::ExitCode;

use capmalloc_benches::fragmentation::{Dispatch, Mode};

#[global_allocator]
static GLOBAL: Dispatch = Dispatch::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Mode::parse(&arguments).and_then(Mode::perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fragmentation: {message}");
            ExitCode::FAILURE
        }
    }
}
