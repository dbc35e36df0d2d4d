//! The long-lived cache which all workers share: bounded in bytes, split into shards, and emptied
//! at random, so that mostly another thread frees a document than the one which rendered it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;

/// A rendered document with what later requests want to know about it.
#[derive(Debug)]
pub(crate) struct CachedDocument {
    pub(crate) text: Box<str>,
    pub(crate) category_totals: BTreeMap<String, u64>,
    pub(crate) tags: Vec<String>,
}

impl CachedDocument {
    /// What the document counts for against the cache's bound: its bytes and those which describe
    /// it, without whatever an allocator adds.
    fn charged_bytes(&self) -> usize {
        let category_bytes = |category: &String| category.len() + size_of::<(String, u64)>();
        let tag_bytes = |tag: &String| tag.len() + size_of::<String>();
        size_of::<Self>()
            + self.text.len()
            + self.category_totals.keys().map(category_bytes).sum::<usize>()
            + self.tags.iter().map(tag_bytes).sum::<usize>()
    }
}

const SHARDS: usize = 16;
const CAPACITY_BYTES: usize = 16 << 20;
const SHARD_CAPACITY_BYTES: usize = CAPACITY_BYTES / SHARDS;

/// Documents by key, with eviction of random ones.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    /// Where in `entries` a key's document is.
    positions: HashMap<u64, usize>,
    /// In no order: a removed entry is replaced by the last, so that picking one at random is easy.
    entries: Vec<(u64, Arc<CachedDocument>)>,
    charged_bytes: usize,
}

impl Cache {
    /// The document of a key; it stays alive while the caller holds it, evicted or not.
    pub(crate) fn get(&self, key: u64) -> Option<Arc<CachedDocument>> {
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let position = *shard.positions.get(&key)?;
        Some(Arc::clone(&shard.entries[position].1))
    }

    /// Stores a document, and evicts others at random until the shard is within its bound again.
    pub(crate) fn insert(&self, key: u64, document: CachedDocument, random: &mut impl Rng) {
        let document = Arc::new(document);
        let mut removed = Vec::new();
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        removed.extend(shard.remove(key));
        let incoming_bytes = document.charged_bytes();
        while shard.charged_bytes + incoming_bytes > SHARD_CAPACITY_BYTES
            && !shard.entries.is_empty()
        {
            let victim = random.random_range(0..shard.entries.len());
            let victim = shard.entries[victim].0;
            removed.extend(shard.remove(victim));
        }
        shard.add(key, document);
        // Documents are freed only after the lock is released, as freeing them takes a while.
        drop(shard);
        drop(removed);
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.shards[key as usize % SHARDS]
    }
}

impl Shard {
    fn add(&mut self, key: u64, document: Arc<CachedDocument>) {
        self.charged_bytes += document.charged_bytes();
        self.positions.insert(key, self.entries.len());
        self.entries.push((key, document));
    }

    fn remove(&mut self, key: u64) -> Option<Arc<CachedDocument>> {
        let position = self.positions.remove(&key)?;
        let (_, document) = self.entries.swap_remove(position);
        if let Some((moved, _)) = self.entries.get(position) {
            self.positions.insert(*moved, position);
        }
        self.charged_bytes -= document.charged_bytes();
        Some(document)
    }
}
