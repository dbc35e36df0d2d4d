//! WebAssembly instances whose linear memories come from a heap of capmalloc's.
//!
//! By default wasmtime reserves 4 GiB of address space for each linear memory, with guards around
//! it, so that compiled code needs no bounds checks. Where address space has a limit, that is one
//! memory in 8 GiB. Here a linear memory is a block of a [`capmalloc::Heap`] of just its length: the
//! heap's limits hold for it, the heap's figures count it, and a dropped one goes back to the
//! operating system as everything else of the heap does. Compiled code checks bounds, at a cost that
//! `docs/wasm-memories.md` measures.
//!
//! ```
//! use std::sync::Arc;
//!
//! use capmalloc::{Heap, Limit};
//! use capmalloc_supervisor::wasm::{self, HeapMemories};
//! use wasmtime::{Engine, Instance, Module, Store};
//!
//! let heap = Arc::new(Heap::new()?);
//! heap.set_limit(Limit::AddressSpace, Some(64 << 20));
//! let memories = HeapMemories::new(heap);
//! let engine = Engine::new(&wasm::config(&memories))?;
//! let module = Module::new(&engine, r#"(module (memory (export "memory") 1))"#)?;
//! let mut store = Store::new(&engine, ());
//! let instance = Instance::new(&mut store, &module, &[])?;
//! let memory = instance.get_memory(&mut store, "memory").expect("an export");
//! memory.write(&mut store, 65_000, b"within the first page")?;
//! assert_eq!(memories.count(), 1);
//!
//! // A thousand pages are within the limit, two thousand are not.
//! memory.grow(&mut store, 500)?;
//! assert!(memory.grow(&mut store, 1000).is_err());
//! let refusal = memories.last_refusal().expect("one");
//! assert!(refusal.to_string().contains("67108864 bytes"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`WasmInstance`] is an instance that a supervisor can watch and restart, [`StorageInstance`] one
//! of a small storage service.

mod account;
mod guest;
mod instance;
mod memories;
mod memory;
mod module;
mod refusal;
mod resident;
mod storage;

use std::sync::Arc;

use wasmtime::Config;

pub use account::MemoryAccount;
pub use guest::{Guest, GuestState, Interrupted};
pub use instance::{CallError, WasmInstance, WasmTimes};
pub use memories::HeapMemories;
pub use module::{WasmEngine, WasmModule};
pub use refusal::{MemoryRefused, RefusedBy};
pub use storage::{
    STORAGE_KEY_MAX_BYTES, STORAGE_VALUE_MAX_BYTES, STORAGE_WAT, StorageError, StorageFigures,
    StorageInstance,
};

/// A configuration of wasmtime's whose linear memories come from `memories`.
///
/// It is [`Config::new`] with these settings, to which a program may add its own:
///
/// | setting | here | wasmtime's default | why |
/// |---|---|---|---|
/// | `with_host_memory` | `memories` | its own mappings | the heap's limits and figures |
/// | `memory_reservation` | 0 | 4 GiB | no address space ahead of need |
/// | `memory_guard_size` | 0 | 32 MiB | a block of a heap has no guard; code checks bounds |
/// | `guard_before_linear_memory` | false | true | as above |
/// | `memory_reservation_for_growth` | 0 | 2 GiB | growth asks the heap anew |
/// | `memory_may_move` | true | true | growth may find no room where the memory is |
/// | `memory_init_cow` | false | true | a mapped image needs a mapping of its own |
///
/// Those of the collector's heaps follow those of memories. Traps by signals stay on: an access out
/// of bounds is then made one to address zero, which traps without a branch.
///
/// A reservation or a guard that is set afterwards is refused when a memory is made, with an error
/// that says so; copy-on-write images that are switched on afterwards make wasmtime panic. Shared
/// memories, which must never move, are refused. `wasmtime::Memory::new` makes a memory of
/// wasmtime's own, whatever the configuration; only those that a module defines come from the heap.
#[must_use]
pub fn config(memories: &HeapMemories) -> Config {
    let mut config = Config::new();
    config
        .with_host_memory(Arc::new(memories.clone()))
        .memory_reservation(0)
        .memory_guard_size(0)
        .guard_before_linear_memory(false)
        .memory_reservation_for_growth(0)
        .memory_may_move(true)
        .memory_init_cow(false);
    config
}

#[cfg(test)]
mod tests;
