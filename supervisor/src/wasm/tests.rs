//! Memories, instances and the storage guest, with real guests of wasmtime's.

mod instances;
mod memories;
mod storage;

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use capmalloc::{Heap, Limit};
use proptest::prelude::*;
use wasmtime::{Engine, Module, Store};

use super::*;
use crate::{Instance, InstanceId, RestartError, SampleError};

const PAGE: usize = 64 << 10;

/// A guest that answers with what it finds in its memory, and grows it.
const GROWING: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 100) "from the file")
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    ;; The first byte from an address on that is not zero, or the memory's length.
    (func (export "first_not_zero") (param i32) (result i32)
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get 0) (i32.shl (memory.size) (i32.const 16))))
          (br_if $done (i64.ne (i64.load (local.get 0)) (i64.const 0)))
          (local.set 0 (i32.add (local.get 0) (i32.const 8)))
          (br $next)))
      (local.get 0)))"#;

/// Times that no loaded machine comes near, but for the drain.
fn times() -> WasmTimes {
    let long = Duration::from_secs(60);
    WasmTimes {
        call_wait: long,
        unresponsive_after: long,
        drain: Duration::from_millis(20),
        interrupt: long,
        start: long,
    }
}

fn new_engine() -> WasmEngine {
    WasmEngine::new(Arc::new(Heap::new().unwrap())).unwrap()
}

fn instance_of(engine: &WasmEngine, wat: &str) -> WasmInstance {
    let module = engine.module("test", wat).unwrap();
    WasmInstance::new(InstanceId(1), &module, times()).unwrap()
}

fn storage(engine: &WasmEngine) -> StorageInstance {
    let module = StorageInstance::module(engine, "storage").unwrap();
    StorageInstance::new(InstanceId(7), &module, times()).unwrap()
}

/// The storage guest, compiled once for the tests that set no limits.
fn shared_storage(times: WasmTimes) -> StorageInstance {
    static MODULE: OnceLock<WasmModule> = OnceLock::new();
    let module = MODULE.get_or_init(|| StorageInstance::module(&new_engine(), "storage").unwrap());
    StorageInstance::new(InstanceId(7), module, times).unwrap()
}

fn invoke<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    instance: &WasmInstance,
    name: &str,
    arguments: P,
) -> Result<R, CallError> {
    instance.call(|guest| guest.invoke(name, arguments))
}

/// Frees blocks of several lengths that hold something, to be used again by guests' memories.
fn leave_written_blocks(heap: &Heap) {
    let lengths = [1, 2, 3, 8, 40, 41, 200].map(|pages| pages * PAGE);
    let blocks = lengths.map(|bytes| {
        let layout = std::alloc::Layout::from_size_align(bytes, 4096).unwrap();
        let block = heap.alloc(layout).unwrap();
        // SAFETY: the block has this length.
        unsafe { block.write_bytes(0xff, bytes) };
        (block, layout)
    });
    // SAFETY: each block was just allocated with its layout.
    blocks.into_iter().for_each(|(block, layout)| unsafe { heap.dealloc(block, layout) });
}
