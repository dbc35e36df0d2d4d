//! Ten thousand linear memories in 8 GiB of address space, where wasmtime's defaults hold one.
//!
//! ```text
//! cargo run --release -p capmalloc-supervisor --example wasm_memories
//! (ulimit -v 8388608; target/release/examples/wasm_memories --count 10000)
//! cargo run --release -p capmalloc-supervisor --example wasm_memories -- --cost
//! ```
//!
//! Three children of this program each make as many instances of a module with a memory of one page
//! (64 KiB) as they are asked for or can. Each memory is written to and read back by its guest, and
//! once all are there they are read once more. The children have a limit on address space: this
//! program's own, or where it has none one that it sets for them.
//!
//! With `--cost` it measures what the checks of bounds cost instead, which the helper's setup needs
//! and the defaults do not.

mod address_space;
mod cost;
mod parts;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use parts::Outcome;

/// Ten thousand linear memories in 8 GiB of address space, where wasmtime's defaults hold one.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// How many memories to make.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The heap's own limit on address space in the last part, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    limit: usize,
    /// Address space for each part in bytes, where this program has no limit of its own yet.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 30)]
    address_space: u64,
    /// Show only what wasmtime's defaults do.
    #[arg(long, conflicts_with = "cost")]
    defaults: bool,
    /// Write to every byte of each memory, rather than to its first and its last words.
    #[arg(long)]
    fill: bool,
    /// Measure what checks of bounds cost.
    #[arg(long)]
    cost: bool,
    /// With --cost: runs of each, of which the median counts.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(5..))]
    runs: u32,
    /// Run this one part here, and answer with a line of JSON.
    #[arg(long, hide = true)]
    part: Option<Part>,
}

/// What a child shows.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Memories of wasmtime's own.
    Defaults,
    /// Memories of a heap.
    Heap,
    /// Memories of a heap with a limit.
    Limit,
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Part::Defaults => "wasmtime's defaults",
            Part::Heap => "capmalloc's heap",
            Part::Limit => "the heap with its own limit",
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let answer = match options.part {
        Some(part) => parts::run(part, &options).and_then(|outcome| {
            serde_json::to_writer(io::stdout(), &outcome)?;
            Ok(io::stdout().flush().map(|()| true)?)
        }),
        None if options.cost => cost::run(options.runs).map(|()| true),
        None => show(&options),
    };
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wasm_memories: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the parts and prints what came of them; answers whether all is as it should be.
fn show(options: &Options) -> wasmtime::Result<bool> {
    let space_bytes = address_space::announce(options.address_space)?;
    let parts = match options.defaults {
        true => &[Part::Defaults][..],
        false => &[Part::Defaults, Part::Heap, Part::Limit],
    };
    let mut outcomes = Vec::new();
    for &part in parts {
        outcomes.push((part, parts::run_as_child(part, options, space_bytes)?));
    }
    let mut is_fine = true;
    for (part, outcome) in &outcomes {
        is_fine &= tell(*part, outcome, options);
    }
    print_table(&outcomes);
    Ok(is_fine)
}

/// Prints how far a part came; answers whether that is as it should be.
fn tell(part: Part, outcome: &Outcome, options: &Options) -> bool {
    let Outcome { memories, verified, error, .. } = outcome;
    println!("\n{}: memories made {memories}, read back {verified}", part.title());
    match error {
        Some(error) => println!("  number {} failed: {error}", memories + 1),
        None => println!("  none failed"),
    }
    let is_whole = memories == verified;
    match part {
        Part::Heap => is_whole && error.is_none() && *memories == options.count,
        // With so few memories asked for, nothing has to fail.
        Part::Defaults | Part::Limit => is_whole,
    }
}

fn print_table(outcomes: &[(Part, Outcome)]) {
    println!(
        "\n                              memories     mapped   resident      heap's       time"
    );
    println!("                                         KiB each   KiB each   KiB each    us each");
    for (part, outcome) in outcomes {
        let Outcome { memories, mapped_bytes, resident_bytes, heap_bytes, .. } = outcome;
        let kib_each = |bytes: u64| bytes as f64 / f64::from((*memories).max(1)) / 1024.0;
        let heap = match part {
            Part::Defaults => format!("{:>10}", "-"),
            _ => format!("{:>10.1}", kib_each(*heap_bytes)),
        };
        println!(
            "{:<28}  {memories:>8} {:>10.1} {:>10.1}  {heap} {:>10.1}",
            part.title(),
            kib_each(*mapped_bytes),
            kib_each(*resident_bytes),
            outcome.seconds * 1e6 / f64::from((*memories).max(1)),
        );
    }
    println!(
        "\nmapped and resident: by the kernel, of the whole process, less what it had with the \
         module compiled;\nheap's: address space that the heap has mapped for the memories alone."
    );
}
