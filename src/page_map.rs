//! A picture of the heap: what each page of each segment is used for.

use core::fmt;

use crate::allocator::Allocator;
use crate::page_source::PageSource;
use crate::segment::{SEGMENT_PAGES, SegmentPtr};
use crate::size_class::SizeClass;
use crate::slab::Slab;
use crate::span::{SpanKind, SpanPtr};
use crate::units::PAGE_BYTES;

/// Segments that may be mapped between the count and the picture and still be in it.
const SPARE_SEGMENTS: usize = 16;

/// What a page of the heap is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PageState {
    /// A live block lies on it, at least in part.
    Live,
    /// Of the blocks on it some are free in caches or depots, and none is live.
    Cached,
    /// No block on it is in use, and it is resident still.
    Dirty,
    /// It was given back or never touched; its address is kept.
    Retained,
}

impl PageState {
    /// One character for a picture in text.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            PageState::Live => '#',
            PageState::Cached => '+',
            PageState::Dirty => '-',
            PageState::Retained => '.',
        }
    }
}

/// The pages of one segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentPages {
    /// The address of the first page.
    pub address: usize,
    /// Each page's state, in address order; a page has [`PAGE_BYTES`] bytes.
    pub pages: Vec<PageState>,
}

/// The pages of all segments in address order: see [`page_map`](crate::page_map).
///
/// `Display` draws it, a line for each 128 pages.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PageMap {
    /// The segments. Huge allocations, with mappings of their own, lie in none.
    pub segments: Vec<SegmentPages>,
}

impl PageMap {
    /// How many pages are in this state.
    #[must_use]
    pub fn count(&self, state: PageState) -> usize {
        let pages = self.segments.iter().flat_map(|segment| &segment.pages);
        pages.filter(|page| **page == state).count()
    }
}

impl fmt::Display for PageMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            writeln!(formatter, "segment at {:#x}", segment.address)?;
            for line in segment.pages.chunks(128) {
                line.iter().try_for_each(|page| write!(formatter, "{}", page.symbol()))?;
                writeln!(formatter)?;
            }
        }
        Ok(())
    }
}

/// What is known of one page while the picture is made.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// The state, but for blocks of slabs.
    is_live: bool,
    is_retained: bool,
    /// Blocks out of their slab, and those of them in caches and depots, that lie on the page.
    taken_blocks: u16,
    cached_blocks: u16,
}

impl Cell {
    fn state(self) -> PageState {
        match self {
            Cell { is_live: true, .. } => PageState::Live,
            cell if cell.taken_blocks > cell.cached_blocks => PageState::Live,
            cell if cell.taken_blocks > 0 => PageState::Cached,
            Cell { is_retained: true, .. } => PageState::Retained,
            _ => PageState::Dirty,
        }
    }
}

/// The cells of a segment, made before anything is locked: they may lie in this very heap.
struct Sketch {
    address: usize,
    cells: Vec<Cell>,
}

impl<S: PageSource> Allocator<S> {
    /// Draws the heap.
    pub(crate) fn page_map(&self) -> PageMap {
        let room = self.page_heap().stats().segment_count + SPARE_SEGMENTS;
        let sketch = || Sketch { address: 0, cells: vec![Cell::default(); SEGMENT_PAGES] };
        let mut sketches: Vec<Sketch> = (0..room).map(|_| sketch()).collect();
        let mut count = 0;
        self.page_heap().for_each_segment(|segment| {
            if let Some(sketch) = sketches.get_mut(count) {
                sketch.draw(segment);
                count += 1;
            }
        });
        sketches.truncate(count);
        self.mark_cached(&mut sketches);
        let segments = sketches.iter().map(|sketch| SegmentPages {
            address: sketch.address,
            pages: sketch.cells.iter().map(|cell| cell.state()).collect(),
        });
        PageMap { segments: segments.collect() }
    }

    fn mark_cached(&self, sketches: &mut [Sketch]) {
        {
            let caches = self.caches().lock();
            for cache in caches.iter() {
                cache.for_each_block(|class, block| mark(sketches, class, block));
            }
        }
        self.cpu_caches().for_each_block(|class, block| mark(sketches, class, block));
        for arena in 0..self.arenas().open() {
            for class in SizeClass::all() {
                let Some(bin) = self.bin(arena, class) else { continue };
                bin.for_each_in_depot(|block| mark(sketches, class, block));
            }
        }
    }
}

/// Counts a cached block on each page that it lies on.
fn mark(sketches: &mut [Sketch], class: SizeClass, block: *mut u8) {
    let first = block.addr();
    let last = first + class.block_bytes() - 1;
    // In address order, as the segment map gives them.
    let index = sketches.partition_point(|sketch| sketch.address <= first);
    let Some(sketch) = index.checked_sub(1).and_then(|index| sketches.get_mut(index)) else {
        return;
    };
    let page = |address: usize| (address - sketch.address) / PAGE_BYTES;
    let pages = page(first)..page(last) + 1;
    if let Some(cells) = sketch.cells.get_mut(pages) {
        cells.iter_mut().for_each(|cell| cell.cached_blocks += 1);
    }
}

impl Sketch {
    fn draw(&mut self, segment: SegmentPtr) {
        self.address = segment.base().addr().get();
        let mut index = 0;
        while index < SEGMENT_PAGES {
            let span = segment.span(index);
            let end = (index + span.pages().count().max(1)).min(SEGMENT_PAGES);
            draw_span(span, &mut self.cells[index..end]);
            index = end;
        }
    }
}

fn draw_span(span: SpanPtr, cells: &mut [Cell]) {
    match span.kind() {
        SpanKind::Slab | SpanKind::SealedSlab => draw_slab(Slab::from_span(span), cells),
        SpanKind::Large => cells.iter_mut().for_each(|cell| cell.is_live = true),
        SpanKind::CachedLarge => cells.iter_mut().for_each(|cell| {
            (cell.taken_blocks, cell.cached_blocks) = (1, 1);
        }),
        SpanKind::FreeRetained => cells.iter_mut().for_each(|cell| cell.is_retained = true),
        _ => {}
    }
}

/// Without the lock of the slab's bin: the bits are read one moment or another, like all figures.
fn draw_slab(slab: Slab, cells: &mut [Cell]) {
    let Some(shape) = slab.span().class().map(SizeClass::shape) else { return };
    for (page, cell) in cells.iter_mut().enumerate() {
        cell.is_retained = slab.is_page_purged(shape, page);
        cell.taken_blocks = slab.taken_blocks_on(shape, page) as u16;
    }
}
