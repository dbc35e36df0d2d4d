//! A page source of one's own: segments on the kernel's huge pages, where it has any.
//!
//! ```text
//! $ cargo run --release --example own_pages
//! ```
//!
//! Programs with a large heap that is read at random spend much of their time on misses of the
//! processor's table of pages. Pages of 2 MiB make that table reach 512 times as far. They
//! are set aside by whoever runs the machine (`sysctl vm.nr_hugepages=64`); where none are left,
//! the source takes ordinary pages and asks the kernel to make huge ones of them when it can. The
//! program prints which it got and what a random walk costs there and on plain `OsPages`.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use capmalloc::{Heap, OsPages, PageSource};

/// A huge page of this machine.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Pages of 2 MiB where a mapping has room for them, and else those of [`OsPages`].
///
/// The counts are atomics, for a lock would need care in a fork.
#[derive(Debug, Default)]
struct HugePages {
    /// Bytes mapped on pages that were set aside, and bytes for which the kernel was only asked.
    reserved_bytes: AtomicUsize,
    asked_bytes: AtomicUsize,
}

impl HugePages {
    /// A mapping on pages that were set aside.
    fn map_reserved(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // The kernel aligns these to a huge page; a heap's segments want twice that. So one page
        // more is mapped, and what lies outside is unmapped again.
        let over_bytes = bytes.checked_add(align.saturating_sub(HUGE_PAGE_BYTES))?;
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB,
        );
        // SAFETY: a new mapping where the kernel likes touches nothing that exists.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), over_bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = NonNull::new(start.cast::<u8>())?;
        let head_bytes = start.as_ptr().align_offset(align);
        let tail_bytes = over_bytes - head_bytes - bytes;
        // SAFETY: head, body and tail are whole huge pages of the mapping just made, and the body
        // alone is kept.
        unsafe {
            let base = start.add(head_bytes);
            for (part, bytes) in [(start, head_bytes), (base.add(bytes), tail_bytes)] {
                if bytes != 0 {
                    libc::munmap(part.as_ptr().cast(), bytes);
                }
            }
            Some(base)
        }
    }

    /// An ordinary mapping, for which the kernel is asked to use huge pages when it has them.
    fn map_asked(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let base = OsPages.map(bytes, align)?;
        // SAFETY: advice on the mapping just made, which changes no contents.
        unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Some(base)
    }
}

// SAFETY: both kinds of mapping are private, anonymous, zeroed and nobody else's, at the alignment
// asked for. A purge by MADV_DONTNEED leaves zeros, and is reported only where it was done; in
// parts of huge pages that were set aside the kernel refuses it.
unsafe impl PageSource for HugePages {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !bytes.is_multiple_of(HUGE_PAGE_BYTES) {
            return OsPages.map(bytes, align);
        }
        if let Some(base) = self.map_reserved(bytes, align) {
            self.reserved_bytes.fetch_add(bytes, Relaxed);
            return Some(base);
        }
        let base = self.map_asked(bytes, align.max(HUGE_PAGE_BYTES))?;
        self.asked_bytes.fetch_add(bytes, Relaxed);
        Some(base)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise is the one asked for. A heap gives whole mappings back, and
        // those on huge pages are whole huge pages long.
        unsafe { OsPages.unmap(base, bytes) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { OsPages.purge(base, bytes) }
    }

    // Only whole huge pages go back: a purge of less would cut them into ordinary ones, and that
    // is what this source is for. `remap` stays refused, and the heap copies.
    fn granularity_bytes(&self) -> usize {
        HUGE_PAGE_BYTES
    }
}

/// A node of a ring that is walked.
struct Node {
    next: NonNull<Node>,
    _payload: [u64; 7],
}

const NODES: usize = 500_000;
const STEPS: usize = 2_000_000;

/// Makes a ring of nodes in the heap, in an order that no prefetcher knows, and walks it.
fn walk<S: PageSource>(heap: &Heap<S>) -> Option<Duration> {
    let alloc = |_| heap.alloc(Layout::new::<Node>()).map(NonNull::cast::<Node>);
    let mut nodes: Vec<NonNull<Node>> = (0..NODES).map(alloc).collect::<Option<_>>()?;
    let mut random = 0x9E37_79B9_u64;
    for index in (1..NODES).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        nodes.swap(index, (random >> 33) as usize % (index + 1));
    }
    for (index, node) in nodes.iter().enumerate() {
        let next = nodes[(index + 1) % NODES];
        // SAFETY: the block is a node's size and nobody else's.
        unsafe { node.write(Node { next, _payload: [0; 7] }) };
    }
    let began = Instant::now();
    let mut node = nodes[0];
    for _ in 0..STEPS {
        // SAFETY: every node was written, and lives as long as the heap.
        node = unsafe { node.as_ref() }.next;
    }
    std::hint::black_box(node);
    Some(began.elapsed())
}

fn report<S: PageSource>(name: &str, heap: &Heap<S>) {
    match walk(heap) {
        Some(time) => {
            let nanoseconds = time.as_nanos() as f64 / STEPS as f64;
            let mapped_mib = heap.stats().mapped_bytes >> 20;
            println!("{name:<12} {nanoseconds:>6.1} ns a step through {mapped_mib} MiB");
        }
        None => println!("{name:<12} has no memory for {NODES} nodes"),
    }
}

fn main() -> Result<(), capmalloc::HeapError> {
    report("OsPages", &Heap::new()?);
    let heap = Heap::with_source(HugePages::default())?;
    report("HugePages", &heap);
    let source = heap.source();
    println!(
        "{} MiB on pages that were set aside, {} MiB on pages that the kernel was asked to join",
        source.reserved_bytes.load(Relaxed) >> 20,
        source.asked_bytes.load(Relaxed) >> 20,
    );
    Ok(())
}
