//! Holding a heap to account: when all work is done, it is as it was before.

use super::block::Block;
use super::child::{Child, is_child};

/// What the heap holds, as far as it must be the same again once all work is done.
#[derive(Debug)]
struct Account {
    small_blocks: usize,
    large_bytes: usize,
    huge_count: usize,
    threads: usize,
    lent_bytes: usize,
    metadata_bytes: usize,
}

impl Account {
    fn now() -> Account {
        capmalloc::check();
        capmalloc::trim();
        let stats = capmalloc::stats();
        Account {
            small_blocks: stats.classes.iter().map(|class| class.live_blocks).sum(),
            large_bytes: stats.large_bytes,
            huge_count: stats.huge_count,
            threads: stats.threads,
            lent_bytes: stats.cache_lent_bytes,
            metadata_bytes: stats.metadata_bytes,
        }
    }
}

/// Runs `work` in a process of its own, and there holds that it left nothing behind.
pub(crate) fn leaves_nothing_behind(work: impl Fn()) {
    if !is_child() {
        Child::new().succeed();
        return;
    }
    // A first thread, for what the standard library makes once and keeps.
    std::thread::spawn(|| drop(Block::of_size(100))).join().expect("a thread that does little");
    let before = Account::now();
    work();
    let after = Account::now();
    // The lists within the figures are a few blocks; one lost by each thread would be many.
    assert!(after.small_blocks <= before.small_blocks + 12, "{before:?}, {after:?}");
    assert_eq!(after.large_bytes, before.large_bytes);
    assert_eq!((after.huge_count, after.threads), (before.huge_count, before.threads));
    assert!(after.lent_bytes <= before.lent_bytes + (64 << 10), "{before:?}, {after:?}");
    // The records of more arenas and of a segment or two may be there, those of threads may not.
    assert!(after.metadata_bytes <= before.metadata_bytes + (768 << 10), "{before:?}, {after:?}");
}
