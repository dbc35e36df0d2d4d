//! What may be asked of an allocator, as a value that proptest can make and shrink, and the list
//! of live blocks that says what must be true afterwards.

use std::alloc::Layout;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::address_space;
use crate::common::block::Block;

/// No processor that runs this maps so much, and every block of this size must be refused.
const IMPOSSIBLE_BYTES: usize = 1 << 47;

/// Above this alignment a huge block is resized by copying, so it must not be gigabytes long.
const PAGE_BYTES: usize = 4096;
const COPIED_MAX_BYTES: usize = 8 << 20;

/// One request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Alloc { size: usize, align: usize },
    AllocZeroed { size: usize, align: usize },
    Realloc { block: Index, size: usize },
    Dealloc { block: Index },
    Trim,
    SetArenaMax { count: usize },
}

impl Action {
    pub(crate) fn any() -> impl Strategy<Value = Action> {
        let (block, align) = (any::<Index>, || (0..=22_u32).prop_map(|shift| 1 << shift));
        prop_oneof![
            // Few want more than a word's alignment, so these are drawn apart.
            4 => size().prop_map(|size| Action::Alloc { size, align: 8 }),
            3 => (size(), align()).prop_map(|(size, align)| Action::Alloc { size, align }),
            2 => (size(), align()).prop_map(|(size, align)| Action::AllocZeroed { size, align }),
            4 => (block(), size()).prop_map(|(block, size)| Action::Realloc { block, size }),
            6 => block().prop_map(|block| Action::Dealloc { block }),
            1 => Just(Action::Trim),
            1 => (1..=8_usize).prop_map(|count| Action::SetArenaMax { count }),
        ]
    }
}

/// Sizes of every route through the allocator, and those next to the boundaries.
fn size() -> impl Strategy<Value = usize> {
    let edge = |shift: u32, step: usize| (1_usize << shift) + step - 1;
    let impossible = prop_oneof![
        IMPOSSIBLE_BYTES..=isize::MAX as usize,
        isize::MAX as usize - 10_000..=isize::MAX as usize,
    ];
    prop_oneof![
        8 => 0..=128_usize,
        8 => 0..=2048_usize,
        6 => 0..=40_000_usize,
        4 => 32_000..=300_000_usize,
        4 => (0..=23_u32, 0..=2_usize).prop_map(move |(shift, step)| edge(shift, step)),
        2 => 1_500_000..=6_000_000_usize,
        1 => 16 << 20..=4_usize << 30,
        1 => impossible,
    ]
}

/// The live blocks.
#[derive(Debug)]
pub(crate) struct Model {
    live: Vec<Block>,
    live_bytes: usize,
    limit_bytes: usize,
}

impl Model {
    /// A model that asks for a fraction of a limited address space, for tests run side by side.
    pub(crate) fn new() -> Model {
        let limit_bytes = address_space::limit_bytes().map_or(usize::MAX, |bytes| bytes / 8);
        Model { live: Vec::new(), live_bytes: 0, limit_bytes }
    }

    /// Does as asked, and panics where the allocator did not.
    pub(crate) fn apply(&mut self, action: &Action) {
        match *action {
            Action::Alloc { size, align } => self.alloc(size, align, Block::new),
            Action::AllocZeroed { size, align } => self.alloc(size, align, Block::zeroed),
            Action::Realloc { block, size } => self.realloc(block, size),
            Action::Dealloc { block } => self.dealloc(block),
            Action::Trim => {
                capmalloc::trim();
            }
            Action::SetArenaMax { count } => {
                capmalloc::set_arena_max(count).expect("a count in range");
            }
        }
    }

    fn alloc(&mut self, size: usize, align: usize, alloc: impl Fn(Layout) -> Option<Block>) {
        // Sizes that overflow when rounded up have no layout, so nobody can ask for them.
        let Ok(layout) = Layout::from_size_align(size, align) else { return };
        if self.is_too_much(size, align) {
            return;
        }
        let block = alloc(layout);
        assert_eq!(block.is_some(), size < IMPOSSIBLE_BYTES, "{layout:?}: {block:?}");
        self.live_bytes += if block.is_some() { size + align } else { 0 };
        self.live.extend(block);
    }

    fn realloc(&mut self, block: Index, size: usize) {
        let Some(index) = self.index(block) else { return };
        let align = self.live[index].layout().align();
        let is_copied = align > PAGE_BYTES && size < IMPOSSIBLE_BYTES;
        let size = if is_copied { size.min(COPIED_MAX_BYTES) } else { size };
        if Layout::from_size_align(size, align).is_err() || self.is_too_much(size, align) {
            return;
        }
        let is_resized = self.live[index].resize(size);
        assert_eq!(is_resized, size < IMPOSSIBLE_BYTES, "to {size}: {:?}", self.live[index]);
        self.live_bytes += if is_resized { size } else { 0 };
    }

    fn dealloc(&mut self, block: Index) {
        if let Some(index) = self.index(block) {
            self.live.swap_remove(index).release();
        }
    }

    /// Frees every block after a last look at its contents.
    pub(crate) fn release_all(&mut self) {
        self.live.drain(..).for_each(Block::release);
        self.live_bytes = 0;
    }

    fn index(&self, block: Index) -> Option<usize> {
        (!self.live.is_empty()).then(|| block.index(self.live.len()))
    }

    /// Whether the request would pass what this process may map; the impossible ones never do.
    fn is_too_much(&self, size: usize, align: usize) -> bool {
        let asked_bytes = self.live_bytes.saturating_add(size).saturating_add(align);
        size < IMPOSSIBLE_BYTES && asked_bytes > self.limit_bytes
    }
}
