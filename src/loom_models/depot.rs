//! The depot under its bin's lock: one thread stocks, one refills, one drains.

use std::sync::Arc;

use super::caches::class;
use super::heap::{self, Heap};
use crate::arena::{BinContext, Refill};
use crate::os::OsPages;
use crate::sync::{model, spawn};

/// Blocks on their way from one thread to another.
#[derive(Clone)]
struct Batch(Vec<*mut u8>);

// SAFETY: nobody looks into the blocks, and pointers may be compared anywhere.
unsafe impl Send for Batch {}

fn bin(heap: &Heap) -> BinContext<'_, OsPages> {
    heap.bin(0, class()).expect("the arena is open")
}

/// Takes `wanted` blocks: those of the depot, and what that lacks from a slab.
fn refill(heap: &Heap, wanted: usize) -> Batch {
    let mut blocks = vec![core::ptr::null_mut(); wanted];
    let refill = bin(heap).refill(&mut blocks);
    assert!(matches!(refill, Refill::Got { count, .. } if count == wanted), "{refill:?}");
    Batch(blocks)
}

fn stock(heap: &Heap, batch: &Batch) {
    assert!(bin(heap).stock(&batch.0, |_| false), "a depot has room for a few blocks");
}

fn drain(heap: &Heap) -> Batch {
    let mut blocks = vec![core::ptr::null_mut(); 8];
    let count = bin(heap).drain_depot(&mut blocks);
    blocks.truncate(count);
    Batch(blocks)
}

#[test]
fn what_one_thread_stocks_another_takes_or_drains() {
    model(|| {
        let heap = heap::heap();
        // One batch is there already, the other is on its way.
        let (there, coming) = (refill(&heap, 1), refill(&heap, 2));
        stock(&heap, &there);
        let producer = spawn({
            let (heap, coming) = (Arc::clone(&heap), coming.clone());
            move || {
                // The whole batch, and not its field alone, goes to the thread.
                let coming = coming;
                stock(&heap, &coming);
            }
        });
        let consumer = spawn({
            let heap = Arc::clone(&heap);
            move || refill(&heap, 2)
        });
        let drained = drain(&heap);
        producer.join().unwrap();
        let consumed = consumer.join().unwrap();
        let mut blocks = [drained.0, consumed.0, drain(&heap).0].concat();
        let mut stocked = there.0.iter().chain(&coming.0);
        assert!(stocked.all(|block| blocks.contains(block)), "none is lost");
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]), "none is handed out twice");
        heap.put_back(class(), &mut blocks);
        heap::finish(&heap);
    });
}
