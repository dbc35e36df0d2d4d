//! A region alone: what it hands out, what it refuses, and what it has again.

use std::alloc::{GlobalAlloc as _, Layout, System};
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::bit_map::parts;
use super::{FixedRegion, NonNull, PAGE_BYTES, RegionError};
use crate::page_source::PageSource as _;

/// Memory for a region, given back when dropped.
pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// So many bytes, all of which read as `byte`.
    pub(crate) fn new(bytes: usize, align: usize, byte: u8) -> Memory {
        let layout = Layout::from_size_align(bytes, align).unwrap();
        // SAFETY: the layout is not of size zero; the memory is as long as is written.
        unsafe {
            let base = NonNull::new(System.alloc_zeroed(layout)).unwrap();
            if byte != 0 {
                base.write_bytes(byte, bytes);
            }
            Memory { base, layout }
        }
    }

    /// A region over it, which must be dropped first.
    pub(crate) fn region(&self) -> Result<FixedRegion, RegionError> {
        // SAFETY: the memory is this value's alone, and every test drops the region before it.
        unsafe { FixedRegion::from_raw(self.base, self.layout.size()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody uses it any more.
        unsafe { System.dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl FixedRegion {
    /// Whether somebody has the region's lock at this moment.
    pub(crate) fn is_locked(&self) -> bool {
        self.records().mapped_pages.try_lock().is_none()
    }
}

const MIB: usize = 1 << 20;

fn is_zero(base: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: every caller has just been handed so many bytes, which were written by the region.
    let bytes = unsafe { core::slice::from_raw_parts(base.as_ptr(), bytes) };
    // All are equal where each equals its neighbour; that is one quick comparison.
    bytes.is_empty() || (bytes[0] == 0 && bytes[1..] == bytes[..bytes.len() - 1])
}

#[test]
fn the_bits_of_any_pages_are_those_and_no_others() {
    for first in [0, 1, 63, 64, 65, 100] {
        for count in [0, 1, 2, 63, 64, 65, 128, 200] {
            let bits: Vec<usize> = parts(first, count)
                .flat_map(|(word, mask)| {
                    (0..64).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| word * 64 + bit)
                })
                .collect();
            assert_eq!(bits, (first..first + count).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_region_that_is_too_small_says_what_it_needs() {
    for (bytes, shift) in [(0, 0), (PAGE_BYTES, 0), (5 * MIB - 1, 0), (8 * MIB, PAGE_BYTES)] {
        let memory = Memory::new(9 * MIB, 4 * MIB, 0);
        // SAFETY: within the memory, which is this test's; there is no region to drop.
        let refused = unsafe { FixedRegion::from_raw(memory.base.add(shift), bytes) }.unwrap_err();
        let needed_bytes = if shift == 0 { 5 * MIB } else { 9 * MIB - PAGE_BYTES };
        assert_eq!((refused.bytes, refused.needed_bytes), (bytes, needed_bytes));
        assert!(refused.to_string().contains(&needed_bytes.to_string()), "{refused}");
    }
    let leaked: &'static mut [core::mem::MaybeUninit<u8>] = &mut [];
    assert!(FixedRegion::new(leaked).is_err());
}

#[test]
fn the_smallest_region_serves_blocks_of_all_sizes() {
    for (bytes, align, shift) in [(5 * MIB, 4 * MIB, 0), (9 * MIB, 4 * MIB, 4097)] {
        let memory = Memory::new(bytes + shift, align, 0xA5);
        // SAFETY: the memory is this test's, and outlives the heap.
        let region = unsafe { FixedRegion::from_raw(memory.base.add(shift), bytes) }.unwrap();
        let heap = crate::heap::Heap::with_source(region).unwrap();
        for class in crate::size_class::SizeClass::all() {
            let layout = Layout::from_size_align(class.block_bytes(), 8).unwrap();
            assert!(heap.alloc(layout).is_some(), "{layout:?} in {bytes}");
        }
        let layout = Layout::from_size_align(2 * MIB, PAGE_BYTES).unwrap();
        assert!(heap.alloc(layout).is_some(), "a large one in {bytes}");
        heap.check();
    }
}

#[test]
fn memory_not_known_to_be_zero_is_cleared_and_fresh_memory_is_left_alone() {
    let memory = Memory::new(8 * MIB, 4 * MIB, 0xA5);
    let region = memory.region().unwrap();
    let base = region.map(MIB, PAGE_BYTES).unwrap();
    assert!(is_zero(base, MIB), "memory that came in use");
    // SAFETY: the mapping is this test's until it is unmapped.
    unsafe {
        base.write_bytes(7, MIB);
        region.unmap(base, MIB);
    }
    assert!(is_zero(region.map(MIB, PAGE_BYTES).unwrap(), MIB), "memory that was used here");
    drop(region);
    // SAFETY: the memory is this test's, which lies about its being zero, and outlives the region.
    let region = unsafe { FixedRegion::from_raw_zeroed(memory.base, 8 * MIB) }.unwrap();
    // Who promises zeros gets what was there, at first.
    let back = region.map(PAGE_BYTES, PAGE_BYTES).unwrap();
    assert!(!is_zero(back, PAGE_BYTES));
    // SAFETY: the mapping is this test's until it is unmapped.
    unsafe { region.unmap(back, PAGE_BYTES) };
    let again = region.map(PAGE_BYTES, PAGE_BYTES).unwrap();
    assert_eq!(again, back);
    assert!(is_zero(again, PAGE_BYTES), "used since");
}

#[test]
fn a_mapping_grows_and_shrinks_where_it_is_or_not_at_all() {
    let memory = Memory::new(12 * MIB, 4 * MIB, 0xA5);
    let region = memory.region().unwrap();
    let base = region.map(2 * MIB, PAGE_BYTES).unwrap();
    // SAFETY: both mappings are this test's.
    unsafe {
        base.write_bytes(9, 2 * MIB);
        assert_eq!(region.remap(base, 2 * MIB, 3 * MIB), Some(base));
        assert_eq!(base.add(2 * MIB - 1).read(), 9);
        assert!(is_zero(base.add(2 * MIB), MIB));
        let behind = region.map(MIB, PAGE_BYTES).unwrap();
        assert_eq!(behind, base.add(3 * MIB));
        assert_eq!(region.remap(base, 3 * MIB, 3 * MIB + PAGE_BYTES), None);
        assert_eq!(region.remap(behind, MIB, 100 * MIB), None, "past the end");
        let free_bytes = region.free_bytes();
        assert_eq!(region.remap(base, 3 * MIB, PAGE_BYTES), Some(base));
        assert_eq!(region.free_bytes(), free_bytes + 3 * MIB - PAGE_BYTES);
        assert_eq!(region.remap(base, PAGE_BYTES, 3 * MIB), Some(base));
        assert!(is_zero(base.add(PAGE_BYTES), 3 * MIB - PAGE_BYTES), "cleared on the way back");
        assert!(!region.purge(base, MIB));
        region.unmap(base, 3 * MIB);
        region.unmap(behind, MIB);
    }
    assert_eq!(region.free_bytes(), region.bytes());
}

#[test]
fn impossible_requests_are_refused() {
    let memory = Memory::new(8 * MIB, 4 * MIB, 0);
    let region = memory.region().unwrap();
    for (bytes, align) in [
        (9 * MIB, PAGE_BYTES),
        (usize::MAX - PAGE_BYTES + 1, PAGE_BYTES),
        (usize::MAX - PAGE_BYTES + 1, 1 << 63),
        (PAGE_BYTES, 1 << 63),
        (4 * MIB, 1 << 40),
    ] {
        assert!(region.map(bytes, align).is_none(), "{bytes} at {align}");
    }
    assert_eq!(region.free_bytes(), region.bytes());
}

#[derive(Clone, Debug)]
enum Action {
    Map { pages: usize, align: usize },
    Unmap { chosen: Index },
    Remap { chosen: Index, pages: usize },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let pages = || prop_oneof![4 => 1..20_usize, 2 => 20..300_usize, 1 => 300..1500_usize];
    let action = prop_oneof![
        4 => (pages(), 12..=22_u32)
            .prop_map(|(pages, shift)| Action::Map { pages, align: 1 << shift }),
        3 => any::<Index>().prop_map(|chosen| Action::Unmap { chosen }),
        2 => (any::<Index>(), pages()).prop_map(|(chosen, pages)| Action::Remap { chosen, pages }),
    ];
    prop::collection::vec(action, 1..60)
}

/// What is mapped: address to pages.
type Mapped = BTreeMap<usize, (NonNull<u8>, usize)>;

/// Whether these pages lie in the region and between the other mappings.
fn fits(mapped: &Mapped, memory: &Memory, base: NonNull<u8>, pages: usize) -> bool {
    let (start, end) = (base.addr().get(), base.addr().get() + pages * PAGE_BYTES);
    let below = mapped.range(..=start).next_back();
    let is_free = below.is_none_or(|(at, (_, pages))| at + pages * PAGE_BYTES <= start)
        && mapped.range(start..).next().is_none_or(|(at, _)| end <= *at);
    let first = memory.base.addr().get();
    is_free && start >= first && end <= first + memory.layout.size()
}

fn apply(action: &Action, region: &FixedRegion, mapped: &mut Mapped, memory: &Memory) {
    let chosen = |mapped: &Mapped, chosen: &Index| match mapped.len() {
        0 => None,
        len => mapped.values().nth(chosen.index(len)).copied(),
    };
    match action {
        Action::Map { pages, align } => {
            let Some(base) = region.map(pages * PAGE_BYTES, *align) else { return };
            assert!(base.addr().get().is_multiple_of(*align));
            assert!(fits(mapped, memory, base, *pages), "{pages} pages overlap others");
            assert!(is_zero(base, pages * PAGE_BYTES));
            // SAFETY: the mapping is this test's.
            unsafe { base.write_bytes(0xEE, pages * PAGE_BYTES) };
            mapped.insert(base.addr().get(), (base, *pages));
        }
        Action::Unmap { chosen: index } => {
            let Some((base, pages)) = chosen(mapped, index) else { return };
            mapped.remove(&base.addr().get());
            // SAFETY: a whole mapping, which is given up.
            unsafe { region.unmap(base, pages * PAGE_BYTES) };
        }
        Action::Remap { chosen: index, pages } => {
            let Some((base, before)) = chosen(mapped, index) else { return };
            mapped.remove(&base.addr().get());
            // SAFETY: a whole mapping.
            let outcome = unsafe { region.remap(base, before * PAGE_BYTES, pages * PAGE_BYTES) };
            let now = if outcome.is_some() { *pages } else { before };
            assert!(outcome.is_none_or(|now| now == base));
            assert!(fits(mapped, memory, base, now));
            if now > before {
                // SAFETY: the mapping is this test's, and now so long.
                unsafe {
                    let more = base.add(before * PAGE_BYTES);
                    assert!(is_zero(more, (now - before) * PAGE_BYTES));
                    more.write_bytes(0xEE, (now - before) * PAGE_BYTES);
                }
            }
            mapped.insert(base.addr().get(), (base, now));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn mappings_never_overlap_and_all_pages_come_back(actions in actions()) {
        let memory = Memory::new(12 * MIB + 5000, 1 << 14, 0x5A);
        let region = memory.region().unwrap();
        let mut mapped = Mapped::new();
        for action in &actions {
            apply(action, &region, &mut mapped, &memory);
            let mapped_pages: usize = mapped.values().map(|(_, pages)| pages).sum();
            assert_eq!(region.bytes() - region.free_bytes(), mapped_pages * PAGE_BYTES);
        }
        for (base, pages) in mapped.into_values() {
            // SAFETY: a whole mapping, which is given up.
            unsafe { region.unmap(base, pages * PAGE_BYTES) };
        }
        let all = region.map(region.bytes(), PAGE_BYTES).expect("all of it in one piece again");
        assert!(is_zero(all, region.bytes()));
    }
}
