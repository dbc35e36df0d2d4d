//! What checks of bounds cost: the same guest under wasmtime's defaults, under the helper, and under
//! the helper with traps by branches rather than by signals.

use std::io;
use std::sync::Arc;

use capmalloc::Heap;
use capmalloc_supervisor::wasm::{self, HeapMemories};
use wasmtime::{Config, Engine, Instance, Module, Store, TypedFunc};

/// Loops that do little but use memory: 16 MiB, of which each uses as much as its parameter says.
const MODULE: &str = r#"(module
    (memory (export "memory") 256)

    ;; Adds words one after another: the hardware fetches ahead, and a check is all that is left.
    (func (export "sum") (param $bytes i32) (param $rounds i32) (result i64)
      (local $at i32) (local $sum i64)
      (loop $round
        (local.set $at (i32.const 0))
        (loop $next
          (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br_if $next (i32.lt_u (local.get $at) (local.get $bytes))))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br_if $round (local.get $rounds)))
      (local.get $sum))

    ;; Copies byte by byte, as naive code does.
    (func (export "copy") (param $bytes i32) (param $rounds i32) (result i64)
      (local $at i32)
      (loop $round
        (local.set $at (i32.const 0))
        (loop $next
          (i32.store8 offset=8388608 (local.get $at) (i32.load8_u (local.get $at)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $at) (local.get $bytes))))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br_if $round (local.get $rounds)))
      (i64.const 0))

    ;; Adds one to words at random places; `bytes` is a power of two.
    (func (export "scatter") (param $bytes i32) (param $rounds i32) (result i64)
      (local $left i32) (local $random i32) (local $at i32)
      (local.set $random (i32.const 12345))
      (loop $round
        (local.set $left (i32.shr_u (local.get $bytes) (i32.const 3)))
        (loop $next
          (local.set $random
            (i32.add (i32.mul (local.get $random) (i32.const 1664525))
              (i32.const 1013904223)))
          (local.set $at
            (i32.and (i32.shr_u (local.get $random) (i32.const 3))
              (i32.and (i32.sub (local.get $bytes) (i32.const 1)) (i32.const -8))))
          (i64.store (local.get $at)
            (i64.add (i64.load (local.get $at)) (i64.const 1)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $next (local.get $left)))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br_if $round (local.get $rounds)))
      (i64.const 0))

    ;; Links words to a circle that visits all of them, for `chase`; `bytes` is a power of two.
    (func (export "link") (param $bytes i32) (local $at i32)
      (loop $next
        ;; An odd multiplier and an odd step make every line follow one other.
        (i32.store (local.get $at)
          (i32.and
            (i32.add (i32.mul (local.get $at) (i32.const 1664525)) (i32.const 1013904192))
            (i32.and (i32.sub (local.get $bytes) (i32.const 1)) (i32.const -64))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $bytes)))))

    ;; Follows links, each to a line that only the last one names.
    (func (export "chase") (param $bytes i32) (param $rounds i32) (result i64)
      (local $left i32) (local $at i32)
      (loop $round
        (local.set $left (i32.shr_u (local.get $bytes) (i32.const 6)))
        (loop $next
          (local.set $at (i32.load (local.get $at)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $next (local.get $left)))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br_if $round (local.get $rounds)))
      (i64.extend_i32_u (local.get $at))))"#;

/// A loop, the bytes that it works on, how often, and how many accesses each byte of it takes.
struct Load {
    title: &'static str,
    function: &'static str,
    bytes: i32,
    rounds: i32,
    accesses_per_byte: f64,
}

const LOADS: [Load; 5] = [
    Load {
        title: "sum of words, 256 KiB",
        function: "sum",
        bytes: 256 << 10,
        rounds: 400,
        accesses_per_byte: 0.125,
    },
    Load {
        title: "copy by bytes, 256 KiB",
        function: "copy",
        bytes: 256 << 10,
        rounds: 100,
        accesses_per_byte: 2.0,
    },
    Load {
        title: "scattered updates, 256 KiB",
        function: "scatter",
        bytes: 256 << 10,
        rounds: 200,
        accesses_per_byte: 0.25,
    },
    Load {
        title: "scattered updates, 8 MiB",
        function: "scatter",
        bytes: 8 << 20,
        rounds: 6,
        accesses_per_byte: 0.25,
    },
    Load {
        title: "chain of links, 256 KiB",
        function: "chase",
        bytes: 256 << 10,
        rounds: 1500,
        accesses_per_byte: 1.0 / 64.0,
    },
];

/// A guest under one of the configurations.
struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new(config: &Config) -> wasmtime::Result<Guest> {
        let engine = Engine::new(config)?;
        let module = Module::new(&engine, MODULE)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        Ok(Guest { store, instance })
    }

    fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
        &mut self,
        name: &str,
    ) -> wasmtime::Result<TypedFunc<P, R>> {
        self.instance.get_typed_func(&mut self.store, name)
    }

    /// Nanoseconds for each access.
    fn measure(&mut self, load: &Load) -> wasmtime::Result<f64> {
        self.function::<i32, ()>("link")?.call(&mut self.store, load.bytes)?;
        let function = self.function::<(i32, i32), i64>(load.function)?;
        function.call(&mut self.store, (load.bytes, 1))?;
        let began = thread_seconds()?;
        function.call(&mut self.store, (load.bytes, load.rounds))?;
        let nanoseconds = (thread_seconds()? - began) * 1e9;
        let accesses = f64::from(load.bytes) * f64::from(load.rounds) * load.accesses_per_byte;
        Ok(nanoseconds / accesses)
    }
}

/// Runs each loop so many times under each, in turns, and prints medians and ratios.
pub(crate) fn run(runs: u32) -> wasmtime::Result<()> {
    let memories = HeapMemories::new(Arc::new(Heap::new()?));
    let mut branching = wasm::config(&memories);
    branching.signals_based_traps(false);
    let configs = [Config::new(), wasm::config(&memories), branching];
    let mut guests = configs.iter().map(Guest::new).collect::<Result<Vec<_>, _>>()?;
    println!("nanoseconds of processor time for each access: medians of {runs} runs, in turns");
    println!("(lowest to highest), and the ratio to wasmtime's defaults\n");
    println!(
        "{:<26} {:>22} {:>22} {:>6} {:>22} {:>6}",
        "", "wasmtime's defaults", "wasm::config", "ratio", "and no signals", "ratio"
    );
    for load in &LOADS {
        let mut times = vec![Vec::new(); guests.len()];
        for _ in 0..runs {
            for (guest, times) in guests.iter_mut().zip(&mut times) {
                times.push(guest.measure(load)?);
            }
        }
        print!("{:<26}", load.title);
        let mut of_defaults = None;
        for times in &mut times {
            times.sort_by(f64::total_cmp);
            let median = times[times.len() / 2];
            let (lowest, highest) = (times[0], times[times.len() - 1]);
            print!(" {:>22}", format!("{median:.3} ({lowest:.3}-{highest:.3})"));
            match of_defaults {
                None => of_defaults = Some(median),
                Some(defaults) => print!(" {:>6.2}", median / defaults),
            }
        }
        println!();
    }
    Ok(())
}

/// Processor time of this thread: what else runs on the machine counts less than by the clock.
fn thread_seconds() -> io::Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to a structure of this function's.
    match unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } {
        0 => Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9),
        _ => Err(io::Error::last_os_error()),
    }
}
