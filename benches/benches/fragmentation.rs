//! How much memory capmalloc holds beside its peers, and at what cost in CPU time and latency.
//!
//! - `cargo bench --bench fragmentation` measures every row on every allocator and writes
//!   `target/capmalloc-report/index.html`, with `report.md` and `report.json` beside it;
//! - `--only idle_connections,size_drift`, `--allocators glibc,capmalloc`, `--arenas 1,2,4,8` and
//!   `--rounds 9` choose what and how often, `--out DIR` where the results go;
//! - `--with "NAME: ALLOCATOR VARIABLE=VALUE ..."` adds an allocator as a service has it set up;
//! - `--quick` does everything in about two minutes, to see a trend;
//! - `--stats` has capmalloc print its own figures at rest, to standard error;
//! - `--test` runs everything once and small: that it works, not what it measures;
//! - `--help` tells more.
//!
//! Each figure comes from a process of its own, in which the allocator serves everything that Rust
//! code asks for.

use std::ffi::{c_int, c_void};
use std::process::ExitCode;

use capmalloc_benches::fragmentation::{Dispatch, Mode, counted_madvise};

#[global_allocator]
static GLOBAL: Dispatch = Dispatch::new();

/// Takes the place of the C library's function for every allocator in this program.
///
/// # Safety
///
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { counted_madvise(address, length, advice) }
}

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
