//! Contents by which a block can be told from any other, and from a shifted copy of itself.

use core::iter::once;
use core::ops::Range;

/// After so many bytes the pattern repeats: a prime, so that no page or class boundary hides a
/// shift.
const PERIOD_BYTES: usize = 8191;

/// Blocks up to this size are written whole, longer ones here and there.
const WHOLE_MAX_BYTES: usize = 1 << 20;

static PATTERN: [u8; PERIOD_BYTES] = {
    let mut bytes = [0; PERIOD_BYTES];
    let (mut index, mut state) = (0, 0x9E37_79B9_7F4A_7C15_u64);
    while index < PERIOD_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Never zero, so that memory that was cleared is never taken for contents.
        bytes[index] = (state >> 56) as u8 | 1;
        index += 1;
    }
    bytes
};

/// The parts of a block of `size` bytes that are written and read: all of it, or the first page,
/// a little at each power of two, and the end.
pub(crate) fn touched(size: usize) -> Vec<Range<usize>> {
    const PAGE_BYTES: usize = 4096;
    const LITTLE_BYTES: usize = 64;
    if size <= WHOLE_MAX_BYTES {
        return once(0..size).collect();
    }
    let powers = (0..usize::BITS).map(|shift| 1 << shift);
    let starts = powers.filter(|&start| start >= PAGE_BYTES && start + LITTLE_BYTES <= size);
    let inside = starts.map(|start| start..start + LITTLE_BYTES);
    let end = size - LITTLE_BYTES..size;
    once(0..PAGE_BYTES).chain(inside).chain(once(end)).collect()
}

/// Calls `visit` with the consecutive pieces of the pattern that `part` is made of.
fn for_pieces(seed: usize, part: Range<usize>, mut visit: impl FnMut(usize, &[u8])) {
    let mut offset = part.start;
    while offset < part.end {
        let start = (seed + offset) % PERIOD_BYTES;
        let length = (PERIOD_BYTES - start).min(part.end - offset);
        visit(offset, &PATTERN[start..start + length]);
        offset += length;
    }
}

/// Writes the pattern of `seed` to the touched parts of a block.
///
/// # Safety
///
/// The block has `size` bytes and nobody else uses it.
pub(crate) unsafe fn write(block: *mut u8, size: usize, seed: usize) {
    for part in touched(size) {
        for_pieces(seed, part, |offset, piece| {
            // SAFETY: the pieces of a touched part lie within the block; the caller owns it.
            unsafe { block.add(offset).copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
        });
    }
}

/// Panics unless the first `kept` bytes of a block of once `size` bytes hold the pattern still.
///
/// # Safety
///
/// The pattern was written with this `size` and `seed`, the block has `kept` bytes, and nobody
/// else writes to it.
pub(crate) unsafe fn check(block: *const u8, size: usize, kept: usize, seed: usize) {
    for part in touched(size) {
        let part = part.start.min(kept)..part.end.min(kept);
        for_pieces(seed, part, |offset, piece| {
            // SAFETY: the piece lies within the kept bytes, which are initialised.
            let found = unsafe { core::slice::from_raw_parts(block.add(offset), piece.len()) };
            assert!(found == piece, "{block:p}, of {size} bytes, was overwritten at {offset}");
        });
    }
}

/// Panics unless a block reads as zero, all of it or, where it is very long, in the touched parts.
///
/// # Safety
///
/// The block has `size` initialised bytes and nobody else writes to it.
pub(crate) unsafe fn check_zeroed(block: *const u8, size: usize) {
    const READ_MAX_BYTES: usize = 8 << 20;
    static ZEROS: [u8; 4096] = [0; 4096];
    let parts = if size <= READ_MAX_BYTES { once(0..size).collect() } else { touched(size) };
    for part in parts {
        for offset in part.clone().step_by(ZEROS.len()) {
            let length = ZEROS.len().min(part.end - offset);
            // SAFETY: the range lies within the block.
            let found = unsafe { core::slice::from_raw_parts(block.add(offset), length) };
            assert!(found == &ZEROS[..length], "{block:p}, of {size} bytes, is dirty at {offset}");
        }
    }
}
