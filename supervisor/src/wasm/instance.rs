//! An instance that a supervisor can watch and restart.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Trap, WasmBacktrace};

use super::account::{MemoryAccount, lock};
use super::guest::{Guest, Interrupted, Stop};
use super::module::WasmModule;
use crate::{Footprint, Instance, InstanceId, ModuleName, RestartError, SampleError};

/// How often a guest that does not stop is told again.
const TELL_AGAIN: Duration = Duration::from_millis(20);

/// How long a [`WasmInstance`] waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasmTimes {
    /// A call waits so long for the one before it, or for a restart; 10 seconds at first.
    pub call_wait: Duration,
    /// A call that takes longer makes the instance count as unresponsive; 5 seconds at first.
    pub unresponsive_after: Duration,
    /// A restart lets the call in progress run on for so long; 1 second at first.
    pub drain: Duration,
    /// Then it interrupts the guest, and gives up where that has not stopped so much later; 2
    /// seconds at first.
    pub interrupt: Duration,
    /// A start function that takes longer is interrupted; 5 seconds at first.
    pub start: Duration,
}

impl Default for WasmTimes {
    fn default() -> WasmTimes {
        WasmTimes {
            call_wait: Duration::from_secs(10),
            unresponsive_after: Duration::from_secs(5),
            drain: Duration::from_secs(1),
            interrupt: Duration::from_secs(2),
            start: Duration::from_secs(5),
        }
    }
}

/// Why a call into a guest has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// Another call, or a restart, did not end in time.
    Busy,
    /// The guest was interrupted to be restarted. What it had done of the call went with it.
    Interrupted,
    /// The guest trapped, now or in an earlier call, or could not be started again. It is gone with
    /// its memory, and the instance takes no calls until it is restarted.
    Stopped(String),
    /// The call failed outside of the guest, which runs on: a missing export, or an access of the
    /// host's outside of its memory.
    Failed(wasmtime::Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Busy => formatter.write_str("the instance is busy and did not get free"),
            CallError::Interrupted => Interrupted.fmt(formatter),
            CallError::Stopped(why) => write!(formatter, "the guest has stopped: {why}"),
            CallError::Failed(error) => write!(formatter, "the call failed: {error}"),
        }
    }
}

impl std::error::Error for CallError {}

/// An instance of a module whose guest can be called, watched and restarted from any thread.
///
/// Its footprint is what the kernel has in memory of its guest's linear memories, wherever the heap
/// has put them: memory that the guest grew to and never touched is not counted. It is told without
/// waiting for the guest.
///
/// A restart ends the call in progress, throws the guest away with its store, and makes another one
/// of the module, with memories as they were at first. The old ones have gone back to the operating
/// system when it returns. Calls that come meanwhile wait for the new guest.
///
/// # One heap for many instances
///
/// All instances of an engine share its heap, because wasmtime compiles a module for an engine and
/// an engine has one maker of memories. A heap's own record takes a page or five of memory and some
/// 100 KiB of address space, and one page-long memory in a heap of its own a segment of 4 MiB: ten
/// thousand such heaps would need 40 GiB, where one shared heap needs less than 700 MiB. What each
/// instance has is kept apart by a [`MemoryAccount`]. The heap's limits are thus those of all
/// instances together, which is what a host with so much memory wants; who wants a limit for a
/// group makes an engine for it.
pub struct WasmInstance {
    id: InstanceId,
    module: WasmModule,
    times: WasmTimes,
    slot: Mutex<Slot>,
    /// Told whenever the phase has changed.
    changed: Condvar,
}

struct Slot {
    phase: Phase,
    incarnation: u64,
    /// Of this incarnation.
    stop: Stop,
    account: Arc<MemoryAccount>,
    /// A restart waits for the call in progress; no other begins.
    is_draining: bool,
}

enum Phase {
    Ready(Box<Guest>),
    /// A call has the guest, since then.
    Called(Instant),
    Restarting,
    /// There is no guest, and why.
    Stopped(String),
}

impl fmt::Debug for WasmInstance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, module, slot) = (&self.id, self.module.name(), lock(&self.slot));
        formatter
            .debug_struct("WasmInstance")
            .field("id", id)
            .field("module", module)
            .field("incarnation", &slot.incarnation)
            .field("account", &slot.account)
            .finish_non_exhaustive()
    }
}

impl WasmInstance {
    /// Starts an instance of a module.
    ///
    /// # Errors
    ///
    /// Where there is no memory for it, which the message tells of, or where its start function
    /// traps or does not end.
    pub fn new(
        id: InstanceId,
        module: &WasmModule,
        times: WasmTimes,
    ) -> wasmtime::Result<WasmInstance> {
        let stop = Stop::default();
        let guest = Box::new(Guest::new(module, &stop, times.start)?);
        let account = Arc::clone(guest.account());
        let phase = Phase::Ready(guest);
        let slot = Slot { phase, incarnation: 0, stop, account, is_draining: false };
        let (module, slot) = (module.clone(), Mutex::new(slot));
        Ok(WasmInstance { id, module, times, slot, changed: Condvar::new() })
    }

    /// The module that it is an instance of.
    #[must_use]
    pub fn wasm_module(&self) -> &WasmModule {
        &self.module
    }

    /// Bytes of its linear memories, touched or not.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let account = Arc::clone(&lock(&self.slot).account);
        account.size_bytes()
    }

    /// Calls with the guest, once it is free: one call at a time.
    ///
    /// Where the guest traps or is interrupted while `call` uses it, it is thrown away, for nobody
    /// knows in what state it has left its memory. That is known by wasmtime's error, so `call` must
    /// answer with that and not with one of its own. If `call` panics, the guest goes, too.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn call<T>(
        &self,
        call: impl FnOnce(&mut Guest) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let mut lease = self.take_guest()?;
        let answer = match lease.guest().begin_call() {
            Ok(()) => call(lease.guest()),
            Err(interrupted) => Err(interrupted.into()),
        };
        match answer {
            Ok(answer) => {
                lease.give_back();
                Ok(answer)
            }
            Err(error) if error.is::<Interrupted>() => {
                lease.give_up("it was interrupted, to be restarted".to_owned());
                Err(CallError::Interrupted)
            }
            // wasmtime adds a backtrace to whatever left a guest's functions.
            Err(error) if error.is::<Trap>() || error.is::<WasmBacktrace>() => {
                let why = format!("{:#}", error.root_cause());
                lease.give_up(why.clone());
                Err(CallError::Stopped(why))
            }
            Err(error) => {
                lease.give_back();
                Err(CallError::Failed(error))
            }
        }
    }

    fn take_guest(&self) -> Result<Lease<'_>, CallError> {
        let is_taken = |slot: &mut Slot| {
            slot.is_draining || matches!(slot.phase, Phase::Called(_) | Phase::Restarting)
        };
        let (mut slot, is_late) = self.wait_while(lock(&self.slot), self.times.call_wait, is_taken);
        if is_late {
            return Err(CallError::Busy);
        }
        match std::mem::replace(&mut slot.phase, Phase::Called(Instant::now())) {
            Phase::Ready(guest) => Ok(Lease { instance: self, guest: Some(guest) }),
            Phase::Stopped(why) => {
                slot.phase = Phase::Stopped(why.clone());
                Err(CallError::Stopped(why))
            }
            Phase::Called(_) | Phase::Restarting => unreachable!("just waited for"),
        }
    }

    /// Waits while something holds, at most so long; answers whether it holds still.
    fn wait_while<'a>(
        &self,
        slot: MutexGuard<'a, Slot>,
        time: Duration,
        condition: impl FnMut(&mut Slot) -> bool,
    ) -> (MutexGuard<'a, Slot>, bool) {
        let answer = self.changed.wait_timeout_while(slot, time, condition);
        let (slot, timeout) = answer.unwrap_or_else(PoisonError::into_inner);
        (slot, timeout.timed_out())
    }

    fn set_phase(&self, phase: Phase) {
        lock(&self.slot).phase = phase;
        self.changed.notify_all();
    }

    /// Ends the call in progress: waits for it, and then interrupts it. Whatever guest there was is
    /// handed out, to be dropped without the lock.
    fn end_call(&self) -> Result<Phase, RestartError> {
        let is_restarting = |slot: &mut Slot| matches!(slot.phase, Phase::Restarting);
        let is_called = |slot: &mut Slot| matches!(slot.phase, Phase::Called(_));
        let mut slot = lock(&self.slot);
        if slot.is_draining || is_restarting(&mut slot) {
            return Err(RestartError::Busy);
        }
        slot.is_draining = true;
        // A call that counts as hung is not waited for a second time.
        let drain = match slot.phase {
            Phase::Called(since) if since.elapsed() >= self.times.unresponsive_after => {
                Duration::ZERO
            }
            _ => self.times.drain,
        };
        let mut is_busy;
        (slot, is_busy) = self.wait_while(slot, drain, is_called);
        let began = Instant::now();
        while is_busy && began.elapsed() < self.times.interrupt {
            slot.stop.set(self.module.engine().engine());
            (slot, is_busy) = self.wait_while(slot, TELL_AGAIN, is_called);
        }
        slot.is_draining = false;
        let answer = match is_busy {
            // It is told to stop, and is thrown away whenever it does.
            true => Err(RestartError::Busy),
            false => Ok(std::mem::replace(&mut slot.phase, Phase::Restarting)),
        };
        drop(slot);
        self.changed.notify_all();
        answer
    }

    /// What a guest had goes back to the operating system now rather than when it has decayed: that
    /// was the aim, and decay takes no step while the heap is idle.
    fn give_memory_back(&self) {
        self.module.engine().memories().heap().trim();
    }

    /// Makes another guest in the place of one that is gone.
    fn start_anew(&self) -> Result<(), RestartError> {
        let stop = Stop::default();
        match Guest::new(&self.module, &stop, self.times.start) {
            Ok(guest) => {
                let mut slot = lock(&self.slot);
                slot.account = Arc::clone(guest.account());
                slot.stop = stop;
                slot.incarnation += 1;
                slot.phase = Phase::Ready(Box::new(guest));
                drop(slot);
                self.changed.notify_all();
                Ok(())
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.set_phase(Phase::Stopped(why.clone()));
                Err(RestartError::Failed(why))
            }
        }
    }
}

impl Instance for WasmInstance {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn module(&self) -> &ModuleName {
        self.module.name()
    }

    fn incarnation(&self) -> u64 {
        lock(&self.slot).incarnation
    }

    fn footprint(&self) -> Result<Footprint, SampleError> {
        let account = {
            let slot = lock(&self.slot);
            match &slot.phase {
                Phase::Called(since) if since.elapsed() >= self.times.unresponsive_after => {
                    return Err(SampleError::Unresponsive);
                }
                Phase::Stopped(why) => return Err(SampleError::Stopped(why.clone())),
                Phase::Ready(_) | Phase::Called(_) | Phase::Restarting => Arc::clone(&slot.account),
            }
        };
        match account.resident_bytes() {
            Ok(bytes) => Ok(Footprint::resident(bytes as u64)),
            Err(error) => Err(SampleError::Failed(error.to_string())),
        }
    }

    fn restart(&self) -> Result<(), RestartError> {
        let old = self.end_call()?;
        // Here the old guest's memories go to the heap, and the new guest may get them again.
        drop(old);
        let answer = self.start_anew();
        self.give_memory_back();
        answer
    }
}

/// The guest for the time of a call.
struct Lease<'instance> {
    instance: &'instance WasmInstance,
    guest: Option<Box<Guest>>,
}

impl Lease<'_> {
    fn guest(&mut self) -> &mut Guest {
        self.guest.as_mut().expect("given back by value only")
    }

    fn give_back(mut self) {
        if let Some(guest) = self.guest.take() {
            self.instance.set_phase(Phase::Ready(guest));
        }
    }

    /// Throws the guest away.
    fn give_up(mut self, why: String) {
        drop(self.guest.take());
        self.instance.set_phase(Phase::Stopped(why));
        self.instance.give_memory_back();
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take() {
            drop(guest);
            self.instance.set_phase(Phase::Stopped("a call panicked".to_owned()));
        }
    }
}
