//! The segment map: from an address to the segment it lies in, without a lock.
//!
//! Two levels over the 48 bits of a user address: a root in static memory, of which a program
//! touches a page, and leaves of 32 GiB each, mapped when a segment first lies there. This is what
//! confirms that a pointer from outside is ours.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};

use crate::counted_source::CountedSource;
use crate::lock::{Mutex, rank};
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_BYTES, Segment, SegmentPtr};

/// Bits of a user's address, at most.
pub(crate) const ADDRESS_BITS: u32 = 48;
const SEGMENT_BITS: u32 = SEGMENT_BYTES.trailing_zeros();
const LEAF_BITS: u32 = 13;
const ROOT_BITS: u32 = ADDRESS_BITS - SEGMENT_BITS - LEAF_BITS;

type Leaf = [AtomicPtr<Segment>; 1 << LEAF_BITS];

/// Address to segment; entered under a lock of its own, read by anyone.
#[derive(Debug)]
pub(crate) struct SegmentMap {
    /// Held by who enters a segment, within the lock of its shard of the page heap.
    entering: Mutex<{ rank::SEGMENT_MAP }, ()>,
    root: [AtomicPtr<Leaf>; 1 << ROOT_BITS],
    /// The first leaf ever made, in which nearly all programs have all of their segments, and its
    /// index in the root, plus one: zero, where there is none yet, is nobody's then.
    near_leaf: AtomicPtr<Leaf>,
    near_index: AtomicUsize,
    /// The lowest segment ever entered, and the highest plus one, counted in segments from address
    /// zero: walks look at no more of the map than that.
    lowest: AtomicUsize,
    end: AtomicUsize,
}

/// The leaf's and the entry's index of an address.
#[inline]
fn indexes(address: usize) -> (usize, usize) {
    let segment = address >> SEGMENT_BITS;
    (segment >> LEAF_BITS, segment & ((1 << LEAF_BITS) - 1))
}

impl SegmentMap {
    pub(crate) const fn new() -> Self {
        SegmentMap {
            entering: Mutex::new(()),
            root: [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 << ROOT_BITS],
            near_leaf: AtomicPtr::new(core::ptr::null_mut()),
            near_index: AtomicUsize::new(0),
            lowest: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
        }
    }

    /// The segment that `address` lies in, if it is one of ours.
    #[inline]
    pub(crate) fn find(&self, address: usize) -> Option<SegmentPtr> {
        let (root, entry) = indexes(address);
        // Acquire pairs with the Release in `insert`: a leaf's zeros and a segment's base are seen.
        let leaf = NonNull::new(self.root.get(root)?.load(Acquire))?;
        // SAFETY: leaves are made of zeroed memory, hold only atomics, and are unmapped only when
        // the whole map is dropped.
        let segment = NonNull::new(unsafe { leaf.as_ref() }[entry].load(Acquire))?;
        // SAFETY: entries are removed before their segment is unmapped. Whoever looks up a live
        // block's address keeps its segment mapped by holding the block; a stray address has no
        // such hold, and may at worst meet the segment in its last moment.
        Some(unsafe { SegmentPtr::from_ptr(segment) })
    }

    /// The same as [`find`](Self::find) with one load less in a row, for addresses in the range of
    /// the first leaf; `None` for any other, and where nothing of ours is.
    ///
    /// For who has nothing but a pointer: the leaf is at hand, so that the segment is one load from
    /// the address.
    #[inline(always)]
    pub(crate) fn find_near(&self, address: usize) -> Option<SegmentPtr> {
        let (root, entry) = indexes(address);
        // Acquire pairs with the Release in `keep_near`: whoever sees the index sees the leaf.
        if root + 1 != self.near_index.load(Acquire) {
            return None;
        }
        // SAFETY: the leaf was made before its index was known, and is unmapped only when the whole
        // map is dropped; an entry's index is below the leaf's length by its mask.
        let leaf = unsafe { &*self.near_leaf.load(Relaxed) };
        // Acquire pairs with the Release in `insert`.
        let segment = NonNull::new(leaf[entry].load(Acquire))?;
        // SAFETY: as in `find`.
        Some(unsafe { SegmentPtr::from_ptr(segment) })
    }

    /// Keeps the first leaf at hand; `entering` is held.
    fn keep_near(&self, root: usize, leaf: NonNull<Leaf>) {
        if self.near_index.load(Relaxed) == 0 {
            self.near_leaf.store(leaf.as_ptr(), Relaxed);
            // Release pairs with the Acquire in `find_near`.
            self.near_index.store(root + 1, Release);
        }
    }

    /// Enters a segment; `false` where no leaf could be had, or the address has too many bits.
    pub(crate) fn insert<S: PageSource>(
        &self,
        segment: SegmentPtr,
        source: &CountedSource<S>,
    ) -> bool {
        let (root, entry) = indexes(segment.base().addr().get());
        let Some(slot) = self.root.get(root) else { return false };
        let _entering = self.entering.lock();
        let leaf = match NonNull::new(slot.load(Relaxed)) {
            Some(leaf) => leaf,
            None => {
                let Some(leaf) = source.map(size_of::<Leaf>(), crate::units::PAGE_BYTES) else {
                    return false;
                };
                // Release pairs with the Acquire in `find`.
                slot.store(leaf.cast().as_ptr(), Release);
                let leaf = leaf.cast::<Leaf>();
                self.keep_near(root, leaf);
                leaf
            }
        };
        // SAFETY: as in `find`.
        let leaf = unsafe { leaf.as_ref() };
        // Release pairs with the Acquire in `find`.
        leaf[entry].store(segment.as_ptr(), Release);
        self.note((root << LEAF_BITS) + entry);
        true
    }

    /// Widens what walks look at. Relaxed: `entering` orders it among writers, and walks hold the locks
    /// of all shards.
    fn note(&self, index: usize) {
        let (lowest, end) = (self.lowest.load(Relaxed), self.end.load(Relaxed));
        self.lowest.store(if end == 0 { index } else { lowest.min(index) }, Relaxed);
        self.end.store(end.max(index + 1), Relaxed);
    }

    /// Forgets a segment; the lock of its shard is held.
    pub(crate) fn remove(&self, segment: SegmentPtr) {
        let (root, entry) = indexes(segment.base().addr().get());
        let leaf = self.root.get(root).and_then(|slot| NonNull::new(slot.load(Relaxed)));
        if let Some(leaf) = leaf {
            // SAFETY: as in `find`.
            let leaf = unsafe { leaf.as_ref() };
            // Relaxed: nobody may follow the entry any more.
            leaf[entry].store(core::ptr::null_mut(), Relaxed);
        }
    }

    /// All segments in address order; the locks of all shards are held.
    pub(crate) fn segments(&self) -> impl Iterator<Item = SegmentPtr> + '_ {
        let (lowest, end) = (self.lowest.load(Relaxed), self.end.load(Relaxed));
        let entries = self.leaves().flat_map(move |(root, leaf)| {
            let first = root << LEAF_BITS;
            let last = (end - first).min(1 << LEAF_BITS);
            leaf[lowest.saturating_sub(first)..last].iter()
        });
        entries.filter_map(|entry| {
            let segment = NonNull::new(entry.load(Acquire))?;
            // SAFETY: entries are removed before their segment is unmapped, under one of the locks held.
            Some(unsafe { SegmentPtr::from_ptr(segment) })
        })
    }

    /// The leaves that ever had a segment, each with its index in the root.
    fn leaves(&self) -> impl Iterator<Item = (usize, &Leaf)> + '_ {
        self.roots().filter_map(|root| {
            let leaf = NonNull::new(self.root[root].load(Acquire))?;
            // SAFETY: as in `find`.
            Some((root, unsafe { leaf.as_ref() }))
        })
    }

    /// The part of the root that may have leaves.
    fn roots(&self) -> core::ops::Range<usize> {
        let (lowest, end) = (self.lowest.load(Relaxed), self.end.load(Relaxed));
        lowest >> LEAF_BITS..end.div_ceil(1 << LEAF_BITS)
    }

    /// Gives the leaves back.
    ///
    /// # Safety
    ///
    /// Nobody uses the map any more, and it was filled from `source`.
    pub(crate) unsafe fn unmap_leaves<S: PageSource>(&self, source: &CountedSource<S>) {
        for slot in &self.root[self.roots()] {
            if let Some(leaf) = NonNull::new(slot.swap(core::ptr::null_mut(), Relaxed)) {
                // SAFETY: mapped by `insert` with this size; the caller says nobody uses it.
                unsafe { source.unmap(leaf.cast(), size_of::<Leaf>()) };
            }
        }
    }

    /// Leaves that were mapped, of each of which a page for each 2 GiB is touched.
    pub(crate) fn leaf_count(&self) -> usize {
        self.leaves().count()
    }
}

#[cfg(test)]
mod tests;
