//! A program whose own cache makes room when the allocator says that memory is short.
//!
//! ```text
//! $ cargo run --example hooks
//! 2.1 MiB over the soft limit of 64.0 MiB
//! dropped 22 pages; 0.1 MiB resident
//! 2.1 MiB over the soft limit of 64.0 MiB
//! dropped 22 pages; 0.1 MiB resident
//! 180 MiB of pages served
//! ```
//!
//! A hook runs in the middle of some allocation, so it does not touch the cache: the line of the
//! program that allocated may just be changing it. It leaves word, and the program answers when it
//! next comes by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use capmalloc::hooks::{self, Event};
use capmalloc::{CapMalloc, Limit};

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

const SOFT_LIMIT_BYTES: usize = 64 << 20;
const PAGE_BYTES: usize = 3 << 20;

/// Whether the hook was told that memory is short, and the cache has not answered yet.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// Logs each limit that is reached, and leaves word for the cache.
fn note_limit(event: &Event) {
    if let Event::LimitReached(reached) = event {
        let (over, limit) = (mebibytes(reached.over_bytes()), mebibytes(reached.limit_bytes));
        eprintln!("{over:.1} MiB over the soft limit of {limit:.1} MiB");
        IS_SHORT.store(true, Ordering::Relaxed);
    }
}

/// The page of this number, kept for the next who asks.
fn page(cache: &mut HashMap<u32, Vec<u8>>, number: u32) -> usize {
    if IS_SHORT.swap(false, Ordering::Relaxed) {
        let pages = cache.len();
        cache.clear();
        capmalloc::trim();
        let resident = mebibytes(capmalloc::stats().resident_bytes);
        eprintln!("dropped {pages} pages; {resident:.1} MiB resident");
    }
    cache.entry(number).or_insert_with(|| vec![number as u8; PAGE_BYTES]).len()
}

fn main() {
    hooks::add(note_limit);
    capmalloc::set_limit(Limit::ResidentSoft, Some(SOFT_LIMIT_BYTES));
    let mut cache = HashMap::new();
    let bytes: usize = (0..60).map(|number| page(&mut cache, number)).sum();
    println!("{:.0} MiB of pages served", mebibytes(bytes));
}
