//! A heap for each tenant: what one holds is known, bounded, and gone when the tenant goes.
//!
//! ```text
//! $ cargo run --release --example tenants
//! tenant      documents   allocated    resident   refused
//! modest          20000     3.1 MiB     3.9 MiB         0
//! ...
//! ```
//!
//! Each tenant's thread stores documents in its tenant's own heap until it has all of them or its
//! limit says no. Then the tenants leave, one at a time: nobody frees a document, and the process
//! is smaller by what the tenant had.

use std::alloc::Layout;
use std::ptr::NonNull;

use capmalloc::{Heap, Limit};

const MIB: usize = 1 << 20;
const LIMIT_BYTES: usize = 48 * MIB;

/// A document in a tenant's heap; it lives no longer than that.
struct Document<'heap>(&'heap mut [u8]);

/// One of those who share the process.
struct Tenant {
    name: &'static str,
    heap: Heap,
    stored: usize,
}

impl Tenant {
    fn new(name: &'static str) -> Result<Tenant, capmalloc::HeapError> {
        let heap = Heap::new()?;
        heap.set_limit(Limit::ResidentHard, Some(LIMIT_BYTES));
        Ok(Tenant { name, heap, stored: 0 })
    }

    /// Stores a text, or nothing where the tenant has reached its limit.
    fn document(&self, text: &[u8]) -> Option<Document<'_>> {
        let base = self.heap.alloc(Layout::for_value(text))?;
        // SAFETY: the block is as long as the text, and this document's for as long as the heap,
        // which frees nothing by itself.
        let copy = unsafe {
            base.copy_from_nonoverlapping(NonNull::from_ref(text).cast(), text.len());
            std::slice::from_raw_parts_mut(base.as_ptr(), text.len())
        };
        Some(Document(copy))
    }

    /// Stores `wanted` documents of `bytes` and more, as far as the limit lets it.
    fn work(&mut self, wanted: usize, bytes: usize) {
        let texts = (0..wanted).map(|index| vec![b'x'; bytes + index % bytes]);
        let documents = texts.map_while(|text| self.document(&text));
        self.stored = documents.inspect(|document| assert!(document.0.starts_with(b"xx"))).count();
    }
}

/// The process's resident memory, by the kernel.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut tenants = [Tenant::new("modest")?, Tenant::new("busy")?, Tenant::new("greedy")?];
    let plans = [(20_000, 100), (20_000, 1000), (1_000_000, 300)];
    std::thread::scope(|scope| {
        for (tenant, (documents, bytes)) in tenants.iter_mut().zip(plans) {
            scope.spawn(move || tenant.work(documents, bytes));
        }
    });
    println!("tenant      documents     allocated      resident   refused");
    for tenant in &tenants {
        let stats = tenant.heap.stats();
        println!(
            "{:<10} {:>10} {:>9.1} MiB {:>9.1} MiB {:>9}",
            tenant.name,
            tenant.stored,
            mib(stats.allocated_bytes),
            mib(stats.resident_bytes),
            stats.hard_limit_refusals,
        );
    }
    println!("the process holds {:>6.1} MiB", mib(resident_bytes()));
    for tenant in tenants {
        let name = tenant.name;
        drop(tenant);
        println!("without {name:<10} {:>4.1} MiB", mib(resident_bytes()));
    }
    Ok(())
}
