//! A block that doubles until it is large, and nothing else.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::out_of_memory;
use crate::peers::Peer;

/// The capacity that a `Vec<u8>` begins with, and the alignment of its items.
const FIRST_BYTES: usize = 8;
const ALIGN_BYTES: usize = 1;

/// What a `Vec<u8>` asks of its allocator until it has `final_bytes`: an allocation, one `realloc`
/// for each doubling, and a free. One iteration is all of that.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// The size that the block ends with, a power of two of at least 8.
    pub final_bytes: usize,
    /// Whether every byte is written once there is room for it, as pushes would.
    pub is_filled: bool,
}

impl Workload for Growth {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        Box::new(Growths::<P> { growth: *self, peer: PhantomData })
    }
}

struct Growths<P: Peer> {
    growth: Growth,
    peer: PhantomData<P>,
}

impl<P: Peer> Growths<P> {
    fn grow(&self) {
        let Growth { final_bytes, is_filled } = self.growth;
        // SAFETY: The sizes are powers of two from 8 to `final_bytes`, the block is live with the
        // size and alignment given each time, and it is freed once.
        unsafe {
            let mut size_bytes = FIRST_BYTES;
            let mut block = checked(P::alloc(size_bytes, ALIGN_BYTES), size_bytes);
            let mut written_bytes = 0;
            loop {
                if is_filled {
                    fill(block.add(written_bytes), size_bytes - written_bytes);
                    written_bytes = size_bytes;
                }
                if size_bytes >= final_bytes {
                    break;
                }
                let grown = P::realloc(block, size_bytes, ALIGN_BYTES, size_bytes * 2);
                size_bytes *= 2;
                block = checked(grown, size_bytes);
            }
            P::dealloc(block, size_bytes, ALIGN_BYTES);
        }
    }
}

/// Writes every byte. It is not inlined, so that nothing of it can be left out for being freed.
///
/// # Safety
///
/// There are that many bytes at the pointer, and they are the caller's.
#[inline(never)]
unsafe fn fill(start: *mut u8, bytes: usize) {
    // SAFETY: The caller promises it.
    unsafe { std::hint::black_box(start).write_bytes(1, bytes) };
}

#[inline(always)]
fn checked(block: *mut u8, size_bytes: usize) -> *mut u8 {
    if block.is_null() {
        out_of_memory(size_bytes);
    }
    block
}

impl<P: Peer> Run for Growths<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..iterations {
            self.grow();
        }
        start.elapsed()
    }
}
