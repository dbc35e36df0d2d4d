//! Huge allocations on a source of their own.

use super::table::CACHED_BYTES_MAX;
use super::*;
use crate::test_source::TestSource;

const SIZE: usize = 3 << 20;

#[test]
fn found_freed_kept_and_reused() {
    let source = CountedSource::new(TestSource::new());
    let metadata = Metadata::new();
    let supply = HugeSupply { source: &source, metadata: &metadata };
    let huge = Huge::new();
    let first = huge.alloc(&supply, SIZE + 1, 1).unwrap();
    assert!(first.is_zeroed);
    assert_eq!(huge.mapped_bytes(first.base), Some(SIZE + PAGE_BYTES));
    assert!(huge.dealloc(&supply, first.base, SIZE + 1));
    assert!(!huge.dealloc(&supply, first.base, SIZE + 1), "freed twice");
    huge.check();
    let again = huge.alloc(&supply, SIZE, 1).unwrap();
    assert_eq!((again.base, again.is_zeroed), (first.base, false));
    assert!(huge.dealloc(&supply, again.base, SIZE));
    assert_eq!(huge.release_one(&supply, 0), Some(SIZE + PAGE_BYTES));
    assert_eq!(huge.release_one(&supply, 0), None);
    metadata.release_empty(&source);
    assert_eq!(source.mapped_bytes(), 0);
}

#[test]
fn more_than_is_kept_goes_back_at_once() {
    let source = CountedSource::new(TestSource::new());
    let metadata = Metadata::new();
    let supply = HugeSupply { source: &source, metadata: &metadata };
    let huge = Huge::new();
    let blocks: Vec<_> =
        (0..20).map(|_| huge.alloc(&supply, SIZE, 1 << 21).unwrap().base).collect();
    huge.check();
    for block in blocks {
        assert_eq!(block.addr().get() % (1 << 21), 0);
        assert!(huge.dealloc(&supply, block, SIZE));
    }
    let stats = huge.stats();
    assert_eq!((stats.count, stats.used_bytes), (0, 0));
    assert!(stats.cached_bytes <= CACHED_BYTES_MAX);
    while huge.release_one(&supply, 0).is_some() {}
    metadata.release_empty(&source);
    assert_eq!(source.mapped_bytes(), 0);
}

#[test]
fn overflow_and_refusal_give_none() {
    let source = CountedSource::new(TestSource::failing_after(1));
    let metadata = Metadata::new();
    let supply = HugeSupply { source: &source, metadata: &metadata };
    let huge = Huge::new();
    assert!(huge.alloc(&supply, usize::MAX - 1, 1).is_none());
    assert!(huge.alloc(&supply, SIZE, 1).is_none());
    huge.check();
    metadata.release_empty(&source);
}
