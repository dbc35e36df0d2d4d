//! A block that doubles until it is large, and nothing else.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::out_of_memory;
use crate::peers::Peer;

/// The capacity that a `Vec<u64>` begins with, and the alignment of its items.
const FIRST_BYTES: usize = 32;
const ALIGN_BYTES: usize = 8;

/// What a `Vec<u64>` asks of its allocator until it has `final_bytes`, without the pushes: an
/// allocation, one `realloc` for each doubling, and a free. One iteration is all of that.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// The size that the block ends with, a power of two of at least 32.
    pub final_bytes: usize,
}

impl Workload for Growth {
    fn open<P: Peer>(&self, _scale: Scale) -> Box<dyn Run> {
        Box::new(Growths::<P> { final_bytes: self.final_bytes, peer: PhantomData })
    }
}

struct Growths<P: Peer> {
    final_bytes: usize,
    peer: PhantomData<P>,
}

impl<P: Peer> Growths<P> {
    fn grow(&self) {
        // SAFETY: The sizes are powers of two from 32 to `final_bytes`, the block is live with
        // the size and alignment given each time, and it is freed once.
        unsafe {
            let mut block = P::alloc(FIRST_BYTES, ALIGN_BYTES);
            let mut size_bytes = FIRST_BYTES;
            while !block.is_null() && size_bytes < self.final_bytes {
                block = P::realloc(block, size_bytes, ALIGN_BYTES, size_bytes * 2);
                size_bytes *= 2;
            }
            if block.is_null() {
                out_of_memory(size_bytes);
            }
            P::dealloc(block, size_bytes, ALIGN_BYTES);
        }
    }
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
