//! One incarnation of an instance: a store of wasmtime's with everything in it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use wasmtime::{
    Engine, Instance, Memory, ResourceLimiter, Store, TypedFunc, UpdateDeadline, WasmParams,
    WasmResults,
};

use super::account::MemoryAccount;
use super::module::WasmModule;
use super::refusal::MemoryRefused;

/// The stack of the thread that watches a start function; it waits, and no more.
const WATCH_STACK_BYTES: usize = 64 << 10;

/// That a guest was interrupted, because its instance is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the guest was interrupted, to be restarted")
    }
}

impl std::error::Error for Interrupted {}

/// Tells a guest to stop, from any thread.
///
/// An engine has one epoch for all of its stores. Each guest is called with a deadline one epoch
/// ahead. Who wants to stop one sets its flag and begins the next epoch: every running guest then
/// comes to its deadline, the one with the flag ends, and the others get another epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(SeqCst)
    }

    /// Stops the guest as soon as it runs code of its own; harmless to repeat.
    pub(super) fn set(&self, engine: &Engine) {
        self.0.store(true, SeqCst);
        // Release, before the epoch's relaxed addition, pairs with the Acquire in `begin_call`: a
        // guest that took its deadline from the new epoch sees the flag before it runs.
        fence(Release);
        engine.increment_epoch();
    }
}

/// What a guest's store holds for the host.
#[derive(Debug)]
pub struct GuestState {
    stop: Stop,
    refusal: Option<MemoryRefused>,
}

impl ResourceLimiter for GuestState {
    fn memory_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Others are the guest's own: growth past the maximum of its memory's type.
        if let Ok(refusal) = error.downcast::<MemoryRefused>() {
            self.refusal = Some(refusal);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// A running module: its functions and memories, for the time of a
/// [call](super::WasmInstance::call).
pub struct Guest {
    store: Store<GuestState>,
    instance: Instance,
    account: Arc<MemoryAccount>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = &self.account;
        formatter.debug_struct("Guest").field("account", account).finish_non_exhaustive()
    }
}

impl Guest {
    /// Makes an instance of the module, and runs its start function if it has one.
    ///
    /// A start function that does not end is interrupted after `start_max`.
    pub(super) fn new(
        module: &WasmModule,
        stop: &Stop,
        start_max: Duration,
    ) -> wasmtime::Result<Guest> {
        let engine = module.engine().engine();
        let state = GuestState { stop: stop.clone(), refusal: None };
        let mut store = Store::new(engine, state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|context| {
            // Acquire, after the compiled code's relaxed look at the epoch, pairs with the Release
            // in `Stop::set`: whoever came here by the epoch of a stop sees its flag.
            fence(Acquire);
            match context.data().stop.is_set() {
                true => Err(Interrupted.into()),
                false => Ok(UpdateDeadline::Continue(1)),
            }
        });
        let account = MemoryAccount::new();
        begin_call(&mut store)?;
        let instance = watched(engine, stop, start_max, || {
            account.attribute(|| module.ready().instantiate(&mut store))
        })?;
        // The time was over just as the start function ended: no call would run.
        if stop.is_set() {
            return Err(Interrupted.into());
        }
        Ok(Guest { store, instance, account })
    }

    pub(super) fn begin_call(&mut self) -> Result<(), Interrupted> {
        begin_call(&mut self.store)
    }

    pub(super) fn account(&self) -> &Arc<MemoryAccount> {
        &self.account
    }

    /// The store that the instance lives in.
    pub fn store(&mut self) -> &mut Store<GuestState> {
        &mut self.store
    }

    /// The instance itself.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// An exported function.
    ///
    /// # Errors
    ///
    /// Where there is none of this name and type.
    pub fn function<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
    ) -> wasmtime::Result<TypedFunc<P, R>> {
        self.instance.get_typed_func(&mut self.store, name)
    }

    /// Calls an exported function.
    ///
    /// # Errors
    ///
    /// Where there is none of this name and type, where it traps, and where it is interrupted.
    pub fn invoke<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
        arguments: P,
    ) -> wasmtime::Result<R> {
        self.function::<P, R>(name)?.call(&mut self.store, arguments)
    }

    /// The exported memory of this name.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn memory(&mut self, name: &str) -> wasmtime::Result<Memory> {
        let memory = self.instance.get_memory(&mut self.store, name);
        memory.ok_or_else(|| wasmtime::Error::msg(format!("the module exports no memory `{name}`")))
    }

    /// The last refusal of the heap's to a memory of this guest, which is then forgotten.
    pub fn take_refusal(&mut self) -> Option<MemoryRefused> {
        self.store.data_mut().refusal.take()
    }
}

/// Gives the guest a deadline one epoch ahead, unless it is to stop.
fn begin_call(store: &mut Store<GuestState>) -> Result<(), Interrupted> {
    store.set_epoch_deadline(1);
    // Acquire pairs with the Release in `Stop::set`. If the epoch just read was that of a stop, the
    // flag is seen here; if not, the deadline is the stop's epoch or an earlier one, and the flag
    // is seen when it comes.
    fence(Acquire);
    if store.data().stop.is_set() { Err(Interrupted) } else { Ok(()) }
}

/// Calls `run`, and stops the guest if that takes too long.
fn watched<T>(
    engine: &Engine,
    stop: &Stop,
    time_max: Duration,
    run: impl FnOnce() -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let watch = move || {
            if is_done.recv_timeout(time_max) == Err(RecvTimeoutError::Timeout) {
                stop.set(engine);
            }
        };
        thread::Builder::new().stack_size(WATCH_STACK_BYTES).spawn_scoped(scope, watch)?;
        let answer = run();
        drop(done);
        answer
    })
}
