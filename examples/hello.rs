//! A program on capmalloc: the two lines at the top are all that it takes.
//!
//! ```text
//! $ cargo run --example hello
//! What is your name?
//! Ada
//! Hello, Ada!
//! ```
//!
//! While it waits for an answer, `grep VmRSS /proc/$(pgrep hello)/status` shows what that costs;
//! `hello_system` is the same program without the two lines. `CAPMALLOC_STATS_AT_EXIT=1` has it
//! end with the allocator's own figures.

use capmalloc::CapMalloc;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

fn main() -> std::io::Result<()> {
    println!("What is your name?");
    let mut name = String::new();
    std::io::stdin().read_line(&mut name)?;
    println!("Hello, {}!", name.trim());
    Ok(())
}
