//! A vector of integers pushed to a large size through real doubling.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use super::{Run, Scale, Workload};
use crate::block::out_of_memory;
use crate::peers::Peer;

/// The size and the alignment of one item.
const ITEM_BYTES: usize = size_of::<u64>();

/// The capacity a `Vec<u64>` gets with its first item.
const FIRST_CAPACITY_ITEMS: usize = 4;

/// Pushes `u64` after `u64` into a growing vector, then frees it.
///
/// The vector asks its allocator for exactly what a `Vec<u64>` asks for: 32
/// bytes at first, then a `realloc` to twice the size whenever it is full.
/// One iteration is a whole vector.
#[derive(Clone, Copy, Debug)]
pub struct VecPush {
    /// The size the vector ends with, a power of two.
    pub final_bytes: usize,
}

impl Workload for VecPush {
    fn open<P: Peer>(&self, scale: Scale) -> Box<dyn Run> {
        let final_bytes = match scale {
            Scale::Full => self.final_bytes,
            // Large enough for every allocator to leave its size classes.
            Scale::Smoke => self.final_bytes.min(4 << 20),
        };
        Box::new(Pushes::<P> { items: final_bytes / ITEM_BYTES, peer: PhantomData })
    }
}

struct Pushes<P: Peer> {
    items: usize,
    peer: PhantomData<P>,
}

impl<P: Peer> Run for Pushes<P> {
    fn run(&mut self, iterations: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..iterations {
            let mut numbers = Numbers::<P>::new();
            for number in 0..self.items {
                numbers.push(number as u64);
            }
        }
        start.elapsed()
    }
}

/// The parts of `Vec<u64>` that matter here. The real one can only be given
/// another allocator with an unstable feature.
struct Numbers<P: Peer> {
    pointer: NonNull<u64>,
    capacity_items: usize,
    length_items: usize,
    peer: PhantomData<P>,
}

impl<P: Peer> Numbers<P> {
    fn new() -> Self {
        Self { pointer: NonNull::dangling(), capacity_items: 0, length_items: 0, peer: PhantomData }
    }

    #[inline(always)]
    fn push(&mut self, number: u64) {
        if self.length_items == self.capacity_items {
            self.grow();
        }
        // SAFETY: The length is below the capacity here, so the item lies
        // within the block, which is aligned for `u64`.
        unsafe { self.pointer.add(self.length_items).write(number) };
        self.length_items += 1;
    }

    /// Doubles the capacity; out of line, as in the standard library.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let old_bytes = self.capacity_items * ITEM_BYTES;
        let new_capacity = (self.capacity_items * 2).max(FIRST_CAPACITY_ITEMS);
        let new_bytes = new_capacity * ITEM_BYTES;
        let pointer = if old_bytes == 0 {
            // SAFETY: The first capacity is not zero, and its layout is valid.
            unsafe { P::alloc(new_bytes, ITEM_BYTES) }
        } else {
            let old = self.pointer.as_ptr().cast();
            // SAFETY: The pointer came from this peer with the old size and
            // this alignment, and the sizes stay far below `isize::MAX`.
            unsafe { P::realloc(old, old_bytes, ITEM_BYTES, new_bytes) }
        };
        let Some(pointer) = NonNull::new(pointer.cast()) else {
            out_of_memory(new_bytes);
        };
        self.pointer = pointer;
        self.capacity_items = new_capacity;
    }
}

impl<P: Peer> Drop for Numbers<P> {
    fn drop(&mut self) {
        let bytes = self.capacity_items * ITEM_BYTES;
        if bytes == 0 {
            return;
        }
        // SAFETY: The pointer came from this peer with this size and this
        // alignment, and dropping happens once.
        unsafe { P::dealloc(self.pointer.as_ptr().cast(), bytes, ITEM_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_peers::Glibc;

    #[test]
    fn numbers_survive_growth_and_capacity_doubles_from_four() {
        let mut numbers = Numbers::<Glibc>::new();
        let mut capacities = Vec::new();
        for number in 0..100 {
            numbers.push(number);
            capacities.push(numbers.capacity_items);
        }
        capacities.dedup();
        assert_eq!(capacities, [4, 8, 16, 32, 64, 128]);
        for index in 0..100 {
            // SAFETY: The first hundred items were written above.
            assert_eq!(unsafe { numbers.pointer.add(index).read() }, index as u64);
        }
    }

    #[test]
    fn a_vector_that_got_no_item_frees_nothing() {
        drop(Numbers::<Glibc>::new());
    }
}
