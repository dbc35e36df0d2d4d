//! Every size, alignment and offset, against plain arithmetic.

use super::*;

const TWO_PAGES_BYTES: usize = 2 * PAGE_BYTES;

#[test]
fn blocks_of_two_pages_and_more_have_a_slab_each() {
    for class in SizeClass::all().filter(|class| class.block_bytes() >= TWO_PAGES_BYTES) {
        assert_eq!(class.shape().capacity, 1);
        assert_eq!(class.shape().pages().bytes(), class.block_bytes());
    }
}

#[test]
fn classes_rise_to_the_largest_small_size() {
    let sizes: Vec<_> = SizeClass::all().map(SizeClass::block_bytes).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(sizes[..10], [8, 16, 24, 32, 40, 48, 56, 64, 72, 80]);
    assert_eq!(sizes.last(), Some(&SMALL_MAX_BYTES));
}

#[test]
fn every_small_request_fits_and_wastes_at_most_an_eighth_or_less_than_a_page() {
    for size in 1..=SMALL_MAX_BYTES {
        let block_bytes = SizeClass::of(size, 1).unwrap().block_bytes();
        assert!(block_bytes >= size);
        let waste_bytes = block_bytes - size;
        let bound_bytes = if size <= PAGE_BYTES {
            8.max(block_bytes / 8 + 1)
        } else if size <= TWO_PAGES_BYTES {
            PAGE_BYTES / 4
        } else {
            PAGE_BYTES
        };
        assert!(waste_bytes < bound_bytes, "{size} in {block_bytes}");
    }
    assert_eq!(SizeClass::of(SMALL_MAX_BYTES + 1, 1), None);
}

#[test]
fn blocks_have_the_alignment_asked_for() {
    for align in (0..=12).map(|shift| 1usize << shift) {
        for size in (0..=SMALL_MAX_BYTES).step_by(7).chain([1, SMALL_MAX_BYTES]) {
            let Some(class) = SizeClass::of(size, align) else {
                assert!(size + align > SMALL_MAX_BYTES, "{size} at {align} is small");
                continue;
            };
            assert!(class.block_bytes() >= size);
            assert_eq!(class.block_bytes() % align.max(8).min(align), 0, "{size} at {align}");
        }
    }
    assert_eq!(SizeClass::of(64, 2 * PAGE_BYTES), None);
}

#[test]
fn slabs_are_small_and_nearly_full() {
    for class in SizeClass::all() {
        let shape = class.shape();
        let used_bytes = shape.capacity as usize * class.block_bytes();
        let slab_bytes = shape.pages().bytes();
        assert!(used_bytes <= slab_bytes);
        assert!((slab_bytes - used_bytes) * 16 <= slab_bytes);
        assert!(shape.capacity as usize <= SLAB_BLOCKS_MAX);
        assert!(shape.pages().count() <= 16, "{} pages", shape.pages().count());
    }
}

#[test]
fn parts_of_a_slab_are_rounded_down_exactly() {
    for class in SizeClass::all() {
        let capacity = class.shape().capacity as usize;
        for blocks in 0..=capacity {
            assert_eq!(class.shape().parts_filled(blocks, 8), blocks * 8 / capacity);
        }
    }
}

#[test]
fn offsets_divide_exactly() {
    for class in SizeClass::all() {
        let shape = class.shape();
        for offset in 0..shape.pages().bytes() {
            assert_eq!(shape.block_containing(offset), offset / class.block_bytes());
            let starts = offset % class.block_bytes() == 0
                && offset / class.block_bytes() < shape.capacity as usize;
            assert_eq!(shape.block_at(offset).is_some(), starts);
        }
    }
}

#[test]
fn by_cs_rule_a_block_has_the_alignment_of_any_type_of_its_size() {
    for size in 0..=SMALL_MAX_BYTES {
        let bytes = SizeClass::of_fundamental(size).map(SizeClass::block_bytes);
        let align = if size <= 8 { 8 } else { 16 };
        assert_eq!(bytes, SizeClass::of(size, align).map(SizeClass::block_bytes), "{size}");
    }
    assert_eq!(SizeClass::of_fundamental(SMALL_MAX_BYTES + 1), None);
    assert_eq!(SizeClass::of_fundamental(usize::MAX), None);
}
