//! The segments of one shard, lowest address first.

use crate::segment::SegmentPtr;

/// A list through the segments themselves, guarded by the shard's lock.
///
/// The kernel gives addresses from the top down, so a new segment's place is nearly always the first.
#[derive(Debug, Default)]
pub(super) struct SegmentList(Option<SegmentPtr>);

impl SegmentList {
    pub(super) const fn new() -> Self {
        SegmentList(None)
    }

    /// Enters a segment that is in no list.
    pub(super) fn insert(&mut self, segment: SegmentPtr) {
        let before = self.iter().take_while(|other| other.base() < segment.base()).last();
        let after = before.map_or(self.0, SegmentPtr::next);
        segment.set_next(after);
        match before {
            Some(before) => before.set_next(Some(segment)),
            None => self.0 = Some(segment),
        }
    }

    /// Calls `is_kept` with each segment, and takes those out for which it says no.
    ///
    /// Such a segment may be unmapped within the call.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(SegmentPtr) -> bool) {
        let mut before: Option<SegmentPtr> = None;
        let mut next = self.0;
        while let Some(segment) = next {
            next = segment.next();
            if is_kept(segment) {
                before = Some(segment);
                continue;
            }
            match before {
                Some(before) => before.set_next(next),
                None => self.0 = next,
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SegmentPtr> + use<> {
        core::iter::successors(self.0, |segment| segment.next())
    }
}
