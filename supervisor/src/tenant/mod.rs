//! A tenant with a heap of its own, as an instance.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use capmalloc::{Heap, HeapError, Limit};
use parking_lot::{RwLock, RwLockReadGuard};

use crate::instance::{Footprint, Instance, InstanceId, ModuleName, RestartError, SampleError};

/// How long a restart waits for leases to end, unless told otherwise.
const RESTART_WAIT: Duration = Duration::from_millis(200);

/// How long a footprint waits for a restart to end.
const FOOTPRINT_WAIT: Duration = Duration::from_millis(50);

/// A tenant whose memory is a [`Heap`] of its own. A restart drops the heap and makes a new one.
///
/// Who uses the heap holds a [`Lease`]. A restart waits a short time for all leases to end, and new
/// ones wait for the restart; where a lease does not end, the restart is refused and nothing has
/// changed. So the heap never goes while somebody uses it, and a user that hangs delays its own
/// restart and nobody else.
///
/// ```
/// use capmalloc_supervisor::{Instance, InstanceId, Tenant};
/// use std::alloc::Layout;
///
/// let tenant = Tenant::new(InstanceId(1), "mail".into())?;
/// let lease = tenant.lease();
/// let block = lease.alloc(Layout::new::<u64>()).expect("8 bytes");
/// // SAFETY: the block is this program's, and as long as the number.
/// unsafe { block.cast::<u64>().write(7) };
/// assert!(tenant.restart().is_err(), "somebody uses it");
/// drop(lease);
/// tenant.restart()?;
/// assert_eq!(tenant.incarnation(), 1);
/// assert_eq!(tenant.lease().stats().allocated_bytes, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tenant {
    id: InstanceId,
    module: ModuleName,
    restart_wait: Duration,
    /// Written under the heap's lock; read without it where only the number is wanted.
    incarnation: AtomicU64,
    heap: RwLock<Heap>,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tenant")
            .field("id", &self.id)
            .field("module", &self.module)
            .field("incarnation", &self.incarnation())
            .finish_non_exhaustive()
    }
}

impl Tenant {
    /// A tenant with an empty heap.
    ///
    /// # Errors
    ///
    /// Where the operating system has no memory for the heap's own record.
    pub fn new(id: InstanceId, module: ModuleName) -> Result<Tenant, HeapError> {
        Ok(Tenant {
            id,
            module,
            restart_wait: RESTART_WAIT,
            incarnation: AtomicU64::new(0),
            heap: RwLock::new(Heap::new()?),
        })
    }

    /// The same with another time that a restart waits for leases to end; 200 ms otherwise.
    #[must_use]
    pub fn with_restart_wait(self, restart_wait: Duration) -> Tenant {
        Tenant { restart_wait, ..self }
    }

    /// Lets the caller use the heap until the lease is dropped.
    ///
    /// Many may have one at once. While a restart waits or is done, this waits too: so a thread that
    /// has a lease must not ask for another, or both wait until the restart gives up.
    #[must_use]
    pub fn lease(&self) -> Lease<'_> {
        let heap = self.heap.read();
        Lease { incarnation: self.incarnation.load(Acquire), heap }
    }

    /// A lease, unless a restart waits or is done.
    #[must_use]
    pub fn try_lease(&self) -> Option<Lease<'_>> {
        let heap = self.heap.try_read()?;
        Some(Lease { incarnation: self.incarnation.load(Acquire), heap })
    }
}

impl Instance for Tenant {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn module(&self) -> &ModuleName {
        &self.module
    }

    fn incarnation(&self) -> u64 {
        // Pairs with the store in `restart`.
        self.incarnation.load(Acquire)
    }

    /// The heap's resident memory, by its own count.
    fn footprint(&self) -> Result<Footprint, SampleError> {
        let heap = self.heap.try_read_for(FOOTPRINT_WAIT).ok_or(SampleError::Unresponsive)?;
        Ok(Footprint::resident(heap.stats().resident_bytes as u64))
    }

    /// Drops the heap, with all that is in it, and makes a new one with the same settings.
    ///
    /// # Errors
    ///
    /// [`RestartError::Busy`] where a lease did not end in time; [`RestartError::Failed`] where there
    /// is no memory for a new heap's record. The heap is then as it was.
    fn restart(&self) -> Result<(), RestartError> {
        let fresh = Heap::new().map_err(|error| RestartError::Failed(error.to_string()))?;
        let mut heap = self.heap.try_write_for(self.restart_wait).ok_or(RestartError::Busy)?;
        for limit in [Limit::AddressSpace, Limit::ResidentSoft, Limit::ResidentHard] {
            fresh.set_limit(limit, heap.limit(limit));
        }
        fresh.set_decay(heap.decay());
        fresh.set_cache_budget(heap.cache_budget());
        let old = std::mem::replace(&mut *heap, fresh);
        self.incarnation.fetch_add(1, Release);
        // The tenant can go on while the old heap's memory is given back.
        drop(heap);
        drop(old);
        Ok(())
    }
}

/// The use of a tenant's heap. Until it is dropped, the heap stays.
///
/// A pointer into the heap is good only for as long as the incarnation is the same, which it may not
/// be in the next lease.
#[derive(Debug)]
pub struct Lease<'tenant> {
    incarnation: u64,
    heap: RwLockReadGuard<'tenant, Heap>,
}

impl Lease<'_> {
    /// Which incarnation of the tenant the heap is.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

impl Deref for Lease<'_> {
    type Target = Heap;

    fn deref(&self) -> &Heap {
        &self.heap
    }
}

#[cfg(test)]
mod tests;
