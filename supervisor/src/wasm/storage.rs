//! The storage service's guest, and how a host talks to it.

use std::fmt;

use wasmtime::Memory;

use super::guest::Guest;
use super::instance::{CallError, WasmInstance, WasmTimes};
use super::module::{WasmEngine, WasmModule};
use super::refusal::MemoryRefused;
use crate::{Footprint, Instance, InstanceId, ModuleName, RestartError, SampleError};

/// The guest's text; its comments say how it works.
pub const STORAGE_WAT: &str = include_str!("../../guests/storage.wat");

/// The longest value, in bytes: with its key and the object's header it must fit what the guest can
/// allocate.
pub const STORAGE_VALUE_MAX_BYTES: usize = 1 << 30;
/// The longest key, in bytes.
pub const STORAGE_KEY_MAX_BYTES: usize = 64 << 10;

/// Why a request to the storage service was not answered.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The guest has no memory for it; what was stored before is as it was.
    ///
    /// The refusal says why, where it was the heap's: a limit, or the operating system. Without one
    /// the guest's memory has the greatest length that there is.
    OutOfMemory(Option<MemoryRefused>),
    /// The key or the value is longer than may be, so many bytes.
    TooLong {
        /// Bytes of the key.
        key_bytes: usize,
        /// Bytes of the value.
        value_bytes: usize,
    },
    /// The guest could not be called.
    Call(CallError),
}

impl fmt::Display for StorageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::OutOfMemory(Some(refusal)) => {
                write!(formatter, "the guest is out of memory: {refusal}")
            }
            StorageError::OutOfMemory(None) => {
                formatter.write_str("the guest is out of memory: it can't grow any more")
            }
            StorageError::TooLong { key_bytes, value_bytes } => write!(
                formatter,
                "a key of {key_bytes} bytes and a value of {value_bytes}; at most \
                 {STORAGE_KEY_MAX_BYTES} and {STORAGE_VALUE_MAX_BYTES} can be stored"
            ),
            StorageError::Call(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for StorageError {}

impl From<CallError> for StorageError {
    fn from(error: CallError) -> StorageError {
        StorageError::Call(error)
    }
}

/// What the guest says of itself; sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageFigures {
    /// How many objects are stored.
    pub objects: u32,
    /// Keys and values of all of them: what the guest needs.
    pub stored_bytes: u64,
    /// What it has lost by leaks.
    pub leaked_bytes: u64,
}

/// A storage service in a guest: objects under keys, from kilobytes to megabytes each.
///
/// The guest's memory grows and never shrinks, and it leaks as the host tells it to. It may be
/// called from any thread, and is restarted as any [`WasmInstance`], which empties it.
///
/// ```
/// use std::sync::Arc;
///
/// use capmalloc::Heap;
/// use capmalloc_supervisor::wasm::{StorageInstance, WasmEngine, WasmTimes};
/// use capmalloc_supervisor::{Instance, InstanceId};
///
/// let engine = WasmEngine::new(Arc::new(Heap::new()?))?;
/// let module = StorageInstance::module(&engine, "storage")?;
/// let storage = StorageInstance::new(InstanceId(1), &module, WasmTimes::default())?;
/// assert!(!storage.put(b"greeting", b"hello")?);
/// assert_eq!(storage.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
///
/// storage.leak(1 << 20)?;
/// assert!(storage.footprint()?.resident_bytes > 1 << 20);
/// storage.restart()?;
/// assert!(storage.footprint()?.resident_bytes < 1 << 20);
/// assert_eq!(storage.get(b"greeting")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StorageInstance {
    instance: WasmInstance,
}

/// A request's answer from within a call: out of memory, or what was asked for.
type Answer<T> = Result<T, Option<MemoryRefused>>;

impl StorageInstance {
    /// Compiles the guest, under a name of the host's choice.
    ///
    /// # Errors
    ///
    /// Where wasmtime cannot, for want of memory for example.
    pub fn module(engine: &WasmEngine, name: &str) -> wasmtime::Result<WasmModule> {
        engine.module(name, STORAGE_WAT)
    }

    /// Starts a service, from a module that [`module`](Self::module) made.
    ///
    /// # Errors
    ///
    /// As [`WasmInstance::new`].
    pub fn new(
        id: InstanceId,
        module: &WasmModule,
        times: WasmTimes,
    ) -> wasmtime::Result<StorageInstance> {
        Ok(StorageInstance { instance: WasmInstance::new(id, module, times)? })
    }

    /// The instance that it is.
    #[must_use]
    pub fn instance(&self) -> &WasmInstance {
        &self.instance
    }

    /// Stores a value; answers whether it replaced one.
    ///
    /// # Errors
    ///
    /// Where the guest has no memory for it, and then the value from before is still there, where
    /// the key or the value is too long, and as [`WasmInstance::call`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<bool, StorageError> {
        check_lengths(key, value)?;
        self.request(|guest| {
            let Some((memory, start)) = reserve(guest, key.len() + value.len())? else {
                return Ok(Err(guest.take_refusal()));
            };
            let [key_start, value_start] = [start, start + key.len()];
            memory.write(guest.store(), key_start, key)?;
            memory.write(guest.store(), value_start, value)?;
            let [key_start, value_start] = [key_start, value_start].map(as_i32);
            let [key_bytes, value_bytes] = [key.len(), value.len()].map(as_i32);
            let arguments = (key_start, key_bytes, value_start, value_bytes);
            match guest.invoke::<_, i32>("put", arguments)? {
                0 => Ok(Ok(false)),
                1 => Ok(Ok(true)),
                _ => Ok(Err(guest.take_refusal())),
            }
        })
    }

    /// The value of a key, if there is one.
    ///
    /// # Errors
    ///
    /// Where the guest has no memory for the key, where the key is too long, and as
    /// [`WasmInstance::call`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        check_lengths(key, &[])?;
        self.request(|guest| {
            let Some((memory, start)) = write_key(guest, key)? else {
                return Ok(Err(guest.take_refusal()));
            };
            let answer: i64 = guest.invoke("get", (as_i32(start), as_i32(key.len())))?;
            if answer == -1 {
                return Ok(Ok(None));
            }
            // The upper half is where the value lies, the lower half its length.
            let answer = answer.cast_unsigned();
            let (start, bytes) = ((answer >> 32) as usize, (answer & 0xffff_ffff) as usize);
            let data = memory.data(guest.store()).get(start..start + bytes);
            let outside = || wasmtime::Error::msg("the guest's value lies outside of its memory");
            Ok(Ok(Some(data.ok_or_else(outside)?.to_vec())))
        })
    }

    /// Forgets a key; answers whether there was one.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn delete(&self, key: &[u8]) -> Result<bool, StorageError> {
        check_lengths(key, &[])?;
        self.request(|guest| {
            let Some((_, start)) = write_key(guest, key)? else {
                return Ok(Err(guest.take_refusal()));
            };
            let answer: i32 = guest.invoke("delete", (as_i32(start), as_i32(key.len())))?;
            Ok(Ok(answer != 0))
        })
    }

    /// Makes the guest lose so many bytes for good, which it has written to.
    ///
    /// # Errors
    ///
    /// Where the guest has no memory for them, and as [`WasmInstance::call`].
    pub fn leak(&self, bytes: u32) -> Result<(), StorageError> {
        self.request(|guest| match guest.invoke::<_, i32>("leak", bytes.cast_signed())? {
            0 => Ok(Ok(())),
            _ => Ok(Err(guest.take_refusal())),
        })
    }

    /// Makes the guest run in an endless loop, until the instance is restarted; for tests.
    ///
    /// # Errors
    ///
    /// Always; [`CallError::Interrupted`] once it is restarted.
    pub fn hang(&self) -> Result<(), StorageError> {
        self.request(|guest| guest.invoke("hang", ()).map(Ok))
    }

    /// What the guest says of itself.
    ///
    /// # Errors
    ///
    /// As [`WasmInstance::call`].
    pub fn figures(&self) -> Result<StorageFigures, StorageError> {
        self.request(|guest| {
            let objects: i32 = guest.invoke("objects", ())?;
            let stored_bytes: i64 = guest.invoke("stored_bytes", ())?;
            let leaked_bytes: i64 = guest.invoke("leaked_bytes", ())?;
            Ok(Ok(StorageFigures {
                objects: objects.cast_unsigned(),
                stored_bytes: stored_bytes.cast_unsigned(),
                leaked_bytes: leaked_bytes.cast_unsigned(),
            }))
        })
    }

    /// Lets the guest walk its own blocks and lists; for tests.
    ///
    /// # Errors
    ///
    /// Where one of them contradicts itself, with the number of the rule in the guest's text, and as
    /// [`WasmInstance::call`].
    pub fn check(&self) -> Result<(), StorageError> {
        self.request(|guest| match guest.invoke::<_, i32>("check", ())? {
            0 => Ok(Ok(())),
            rule => {
                Err(wasmtime::Error::msg(format!("rule {rule} of the guest's blocks is broken")))
            }
        })
    }

    fn request<T>(
        &self,
        request: impl FnOnce(&mut Guest) -> wasmtime::Result<Answer<T>>,
    ) -> Result<T, StorageError> {
        self.instance.call(request)?.map_err(StorageError::OutOfMemory)
    }
}

impl Instance for StorageInstance {
    fn id(&self) -> InstanceId {
        self.instance.id()
    }

    fn module(&self) -> &ModuleName {
        self.instance.module()
    }

    fn incarnation(&self) -> u64 {
        self.instance.incarnation()
    }

    fn footprint(&self) -> Result<Footprint, SampleError> {
        self.instance.footprint()
    }

    fn restart(&self) -> Result<(), RestartError> {
        self.instance.restart()
    }
}

fn check_lengths(key: &[u8], value: &[u8]) -> Result<(), StorageError> {
    let (key_bytes, value_bytes) = (key.len(), value.len());
    if key_bytes > STORAGE_KEY_MAX_BYTES || value_bytes > STORAGE_VALUE_MAX_BYTES {
        return Err(StorageError::TooLong { key_bytes, value_bytes });
    }
    Ok(())
}

/// Room in the guest's memory for a request, and that memory; `None` where the guest has no room.
fn reserve(guest: &mut Guest, bytes: usize) -> wasmtime::Result<Option<(Memory, usize)>> {
    let start: i32 = guest.invoke("reserve", as_i32(bytes))?;
    if start == 0 {
        return Ok(None);
    }
    Ok(Some((guest.memory("memory")?, start.cast_unsigned() as usize)))
}

fn write_key(guest: &mut Guest, key: &[u8]) -> wasmtime::Result<Option<(Memory, usize)>> {
    let Some((memory, start)) = reserve(guest, key.len())? else { return Ok(None) };
    memory.write(guest.store(), start, key)?;
    Ok(Some((memory, start)))
}

/// A number of bytes, or an address of the guest's, as the guest takes it: in 32 bits.
fn as_i32(bytes: usize) -> i32 {
    (bytes as u32).cast_signed()
}
