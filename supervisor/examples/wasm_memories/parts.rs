//! What each child does: instances, as many as are wanted or can be made.

use std::env;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use capmalloc::{Heap, Limit};
use capmalloc_supervisor::wasm::{self, HeapMemories};
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine, Error, Instance, Module, Store, TypedFunc};

use crate::{Options, Part, address_space};

/// One page, which the guest writes a number to and reads it back from.
const MODULE: &str = r#"(module
    (memory (export "memory") 1 16)
    ;; Writes a number to the words at a distance of so many bytes, and to the last.
    (func (export "write") (param $number i64) (param $distance i32) (local $at i32)
      (loop $next
        (i64.store (local.get $at) (local.get $number))
        (local.set $at (i32.add (local.get $at) (local.get $distance)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 65536))))
      (i64.store (i32.const 65528) (local.get $number)))
    ;; 1 if the number is in all of them.
    (func (export "is_there") (param $number i64) (param $distance i32) (result i32)
      (local $at i32)
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (local.get $number))
          (then (return (i32.const 0))))
        (local.set $at (i32.add (local.get $at) (local.get $distance)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 65536))))
      (i64.eq (i64.load (i32.const 65528)) (local.get $number))))"#;

/// How far a part came; sizes are in bytes, of all memories together.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Instances made, and those whose memory held its number to the end.
    pub(crate) memories: u32,
    pub(crate) verified: u32,
    /// What the next one failed with.
    pub(crate) error: Option<String>,
    /// By the kernel.
    pub(crate) mapped_bytes: u64,
    pub(crate) resident_bytes: u64,
    /// By the heap.
    pub(crate) heap_bytes: u64,
    pub(crate) seconds: f64,
}

struct Held {
    store: Store<()>,
    is_there: TypedFunc<(i64, i32), i32>,
}

/// Runs a part in a child, under a limit if there has to be one.
pub(crate) fn run_as_child(
    part: Part,
    options: &Options,
    space_bytes: Option<u64>,
) -> wasmtime::Result<Outcome> {
    let mut command = Command::new(env::current_exe()?);
    let name = part.to_possible_value().expect("no part is hidden").get_name().to_owned();
    command.args(["--part", &name, "--count", &options.count.to_string()]);
    command.args(["--limit", &options.limit.to_string()]);
    command.args(options.fill.then_some("--fill"));
    if let Some(bytes) = space_bytes {
        // SAFETY: what runs between the fork and the exec is one system call.
        unsafe { command.pre_exec(move || address_space::set_limit(bytes)) };
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text)?;
    let status = child.wait()?;
    if !status.success() {
        return Err(Error::msg(format!("the part with {} ended with {status}", part.title())));
    }
    Ok(serde_json::from_str(&text)?)
}

/// Runs a part in this process.
pub(crate) fn run(part: Part, options: &Options) -> wasmtime::Result<Outcome> {
    let heap = Arc::new(Heap::new()?);
    if part == Part::Limit {
        heap.set_limit(Limit::AddressSpace, Some(options.limit));
    }
    let config = match part {
        Part::Defaults => Config::new(),
        Part::Heap | Part::Limit => wasm::config(&HeapMemories::new(Arc::clone(&heap))),
    };
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, MODULE)?;
    let (before_mapped, before_resident) = address_space::used()?;
    let began = Instant::now();

    let distance = if options.fill { 8 } else { 65_536 };
    let progress = progress_bar(part, options.count);
    let mut held = Vec::with_capacity(options.count as usize);
    let mut outcome = Outcome::default();
    for number in 0..options.count {
        match hold(&engine, &module, number, distance) {
            Ok(one) => held.push(one),
            Err(error) => {
                outcome.error = Some(format!("{error:#}"));
                break;
            }
        }
        progress.inc(1);
    }
    outcome.memories = held.len() as u32;
    // All are there now: whatever lay over another's memory would show.
    for (number, one) in held.iter_mut().enumerate() {
        let arguments = (pattern(number as u32), distance);
        outcome.verified += u32::from(one.is_there.call(&mut one.store, arguments)? == 1);
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    let (mapped, resident) = address_space::used()?;
    outcome.mapped_bytes = mapped.saturating_sub(before_mapped);
    outcome.resident_bytes = resident.saturating_sub(before_resident);
    outcome.heap_bytes = heap.stats().mapped_bytes as u64;
    progress.finish_and_clear();
    Ok(outcome)
}

/// Makes an instance, and has its guest write a number to its memory and read it back.
fn hold(engine: &Engine, module: &Module, number: u32, distance: i32) -> wasmtime::Result<Held> {
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[])?;
    let write = instance.get_typed_func::<(i64, i32), ()>(&mut store, "write")?;
    let is_there = instance.get_typed_func::<(i64, i32), i32>(&mut store, "is_there")?;
    write.call(&mut store, (pattern(number), distance))?;
    match is_there.call(&mut store, (pattern(number), distance))? {
        1 => Ok(Held { store, is_there }),
        _ => Err(Error::msg(format!("memory {number} does not hold what was written to it"))),
    }
}

/// A number of its own for each memory, and none of it zero.
fn pattern(number: u32) -> i64 {
    (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).cast_signed()
}

fn progress_bar(part: Part, count: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:28} {bar:40} {human_pos}/{human_len}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count.into()).with_style(style).with_message(part.title())
}
