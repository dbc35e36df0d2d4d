//! Records on a source of their own.

use super::*;
use crate::test_source::TestSource;

#[test]
fn records_are_zeroed_distinct_and_given_back() {
    let source = CountedSource::new(TestSource::new());
    let metadata = Metadata::new();
    for bytes in [1, 64, 100, 1408, 4096, 8192, 20_000] {
        let records: Vec<_> = (0..200).map(|_| metadata.take(&source, bytes).unwrap()).collect();
        metadata.check();
        for record in &records {
            // SAFETY: the record is this test's, of `bytes`.
            unsafe {
                assert!((0..bytes).all(|offset| record.add(offset).read() == 0));
                record.write_bytes(0xA5, bytes);
            }
        }
        for record in records {
            // SAFETY: taken above with this size.
            unsafe { metadata.give(&source, record, bytes) };
        }
        let again = metadata.take(&source, bytes).unwrap();
        // SAFETY: the record is this test's.
        assert_eq!(unsafe { again.read() }, 0, "a record used before is cleared");
        // SAFETY: taken above with this size.
        unsafe { metadata.give(&source, again, bytes) };
    }
    assert!(metadata.release_empty(&source) > 0);
    assert_eq!(metadata.resident_bytes(), 0);
    assert_eq!(source.mapped_bytes(), 0);
}

#[test]
fn all_chunks_go_at_once_with_records_in_use_and_free_ones() {
    let source = CountedSource::new(TestSource::new());
    let metadata = Metadata::new();
    // Full chunks, half-full ones, and some that come and go meanwhile.
    for (bytes, count) in [(64, 3000), (8192, 20), (2048, 40), (500, 1)] {
        let records: Vec<_> = (0..count).map(|_| metadata.take(&source, bytes).unwrap()).collect();
        for record in records.iter().step_by(3) {
            // SAFETY: taken above with this size.
            unsafe { metadata.give(&source, *record, bytes) };
        }
        metadata.check();
        metadata.release_empty(&source);
        metadata.check();
    }
    // SAFETY: nobody uses the records any more.
    unsafe { metadata.unmap_all(&source) };
    assert_eq!((metadata.resident_bytes(), source.mapped_bytes()), (0, 0));
    assert_eq!(source.limits().resident_bytes(), 0);
    assert!(metadata.take(&source, 64).is_some(), "storage is as it was at first");
    // SAFETY: nobody uses the record any more.
    unsafe { metadata.unmap_all(&source) };
}

#[test]
fn a_refusing_source_gives_none() {
    let source = CountedSource::new(TestSource::failing_after(0));
    let metadata = Metadata::new();
    assert!(metadata.take(&source, 64).is_none());
    assert!(metadata.take(&source, 1 << 20).is_none());
    assert_eq!(metadata.resident_bytes(), 0);
}

#[test]
#[should_panic(expected = "a chunk is listed with another size")]
fn a_record_given_back_as_one_of_another_size_is_seen() {
    let source = CountedSource::new(TestSource::new());
    let metadata = Metadata::new();
    let first = metadata.take(&source, 64).unwrap();
    (1..CHUNK_BYTES / 64 - 1).for_each(|_| assert!(metadata.take(&source, 64).is_some()));
    metadata.check();
    // SAFETY: not what is promised, and nobody uses the record any more.
    unsafe { metadata.give(&source, first, 100) };
    metadata.check();
}

#[test]
#[should_panic(expected = "a chunk has more free records than were ever used")]
fn a_record_given_back_twice_is_seen() {
    let source = CountedSource::new(TestSource::new());
    let metadata = Metadata::new();
    let [_, record] = [(); 2].map(|()| metadata.take(&source, 64).unwrap());
    for _ in 0..2 {
        // SAFETY: not what is promised at the second time, and nobody uses the record any more.
        unsafe { metadata.give(&source, record, 64) };
    }
    metadata.check();
}
