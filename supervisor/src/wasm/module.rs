//! Compiled modules, and the engine that they share.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use capmalloc::Heap;
use wasmtime::{Config, Engine, InstancePre, Linker, Module};

use super::guest::GuestState;
use super::memories::HeapMemories;
use crate::ModuleName;

/// An engine of wasmtime's whose linear memories come from a heap, and whose guests can be
/// interrupted. A clone is the same engine.
#[derive(Clone)]
pub struct WasmEngine {
    engine: Engine,
    memories: HeapMemories,
}

impl fmt::Debug for WasmEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WasmEngine").field("memories", &self.memories).finish()
    }
}

impl WasmEngine {
    /// An engine whose linear memories come from this heap, set up by [`config`](super::config).
    ///
    /// # Errors
    ///
    /// wasmtime's own, where it finds nothing to run on.
    pub fn new(heap: Arc<Heap>) -> wasmtime::Result<WasmEngine> {
        let memories = HeapMemories::new(heap);
        let config = super::config(&memories);
        WasmEngine::with_config(memories, config)
    }

    /// An engine of a configuration that [`config`](super::config) made for these memories, and the
    /// program changed.
    ///
    /// Interruption by epochs is switched on, without which a hung guest could never be restarted,
    /// and backtraces of 20 frames are: they tell errors of a guest from those of its host.
    ///
    /// # Errors
    ///
    /// wasmtime's own, where the settings contradict one another.
    pub fn with_config(memories: HeapMemories, mut config: Config) -> wasmtime::Result<WasmEngine> {
        config.epoch_interruption(true).wasm_backtrace_max_frames(NonZeroUsize::new(20));
        Ok(WasmEngine { engine: Engine::new(&config)?, memories })
    }

    /// The engine itself.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its linear memories.
    #[must_use]
    pub fn memories(&self) -> &HeapMemories {
        &self.memories
    }

    /// Compiles a module that imports nothing, from bytes or from text.
    ///
    /// # Errors
    ///
    /// Where it is not valid, or imports something.
    pub fn module(&self, name: &str, wasm: impl AsRef<[u8]>) -> wasmtime::Result<WasmModule> {
        self.module_with(name, wasm, |_linker| Ok(()))
    }

    /// Compiles a module whose imports `define` gives to the linker.
    ///
    /// A function of the host's that waits for something cannot be interrupted, and a guest that
    /// called it is not restarted before it returns.
    ///
    /// # Errors
    ///
    /// Where the module is not valid, or an import is missing or of another type.
    pub fn module_with(
        &self,
        name: &str,
        wasm: impl AsRef<[u8]>,
        define: impl FnOnce(&mut Linker<GuestState>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<WasmModule> {
        let module = Module::new(&self.engine, wasm)?;
        let mut linker = Linker::new(&self.engine);
        define(&mut linker)?;
        let ready = linker.instantiate_pre(&module)?;
        Ok(WasmModule { name: ModuleName::from(name), engine: self.clone(), ready })
    }
}

/// A compiled module with its imports, of which any number of instances can be made. A clone is the
/// same module.
#[derive(Clone)]
pub struct WasmModule {
    name: ModuleName,
    engine: WasmEngine,
    ready: InstancePre<GuestState>,
}

impl WasmModule {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ModuleName {
        &self.name
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &WasmEngine {
        &self.engine
    }

    pub(super) fn ready(&self) -> &InstancePre<GuestState> {
        &self.ready
    }
}

impl fmt::Debug for WasmModule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WasmModule").field("name", &self.name).finish_non_exhaustive()
    }
}
