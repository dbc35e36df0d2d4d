//! Where a load runs: in a process of its own, which tells the parent what it holds at rest.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use super::block::Block;
use super::contenders::{AtRest, Contender};
use super::herd::Herd;
use super::resident;
use crate::peers::PeerId;
use crate::workloads::Scale;

/// How long a process rests before it is measured, unless it is trimmed.
const REST: Duration = Duration::from_secs(2);

const PAGE_BYTES: usize = 4096;

/// The line by which a process tells what it holds; the parent's sampling ends with it.
pub(super) const TOLD_MARK: &str = "at rest:";

/// What a process tells at rest, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Resident and in no file, less what the threads' stacks hold.
    pub(super) final_bytes: usize,
    /// Resident on stacks.
    pub(super) stack_bytes: usize,
    /// The same as `final_bytes` before the load began.
    pub(super) start_bytes: usize,
    /// What the load asked for and has not freed.
    pub(super) live_bytes: usize,
    /// The pages that hold any of it.
    pub(super) floor_bytes: usize,
}

impl Told {
    /// The line for the parent.
    pub(super) fn line(&self) -> String {
        let Told { final_bytes, stack_bytes, start_bytes, live_bytes, floor_bytes } = self;
        format!("{TOLD_MARK} {final_bytes} {stack_bytes} {start_bytes} {live_bytes} {floor_bytes}")
    }

    pub(super) fn parse(line: &str) -> Option<Told> {
        let mut numbers = line.strip_prefix(TOLD_MARK)?.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Told {
            final_bytes: next()?,
            stack_bytes: next()?,
            start_bytes: next()?,
            live_bytes: next()?,
            floor_bytes: next()?,
        })
    }
}

/// A load's surroundings.
#[derive(Debug)]
pub(super) struct Stage {
    scale: Scale,
    contender: &'static Contender,
    is_stats_wanted: bool,
    start_bytes: usize,
}

impl Stage {
    pub(super) fn new(scale: Scale, contender: &'static Contender, is_stats_wanted: bool) -> Self {
        Self { scale, contender, is_stats_wanted, start_bytes: resident::anonymous_bytes() }
    }

    /// `full`, or `smoke` where the bench is only tried.
    pub(super) fn scaled(&self, full: usize, smoke: usize) -> usize {
        match self.scale {
            Scale::Full => full,
            Scale::Smoke => smoke,
        }
    }

    /// Lets the allocator do what it does at rest, and tells the parent what is held then.
    ///
    /// The herd's threads sleep; `for_each_live` shows the blocks that they kept.
    pub(super) fn rest(&self, herd: &Herd, for_each_live: impl Fn(&mut dyn FnMut(&Block))) {
        match (self.contender.at_rest, self.scale) {
            (AtRest::Trim, _) => drop(capmalloc::trim()),
            (AtRest::Wait, Scale::Full) => sleep(REST),
            (AtRest::Wait, Scale::Smoke) => {}
        }
        let anonymous_bytes = resident::anonymous_bytes();
        let stack_bytes = herd.stack_bytes();
        if self.is_stats_wanted && self.contender.peer == PeerId::Capmalloc {
            eprintln!("{}", capmalloc::stats());
        }
        let (mut live_bytes, mut pages) = (0, BTreeSet::new());
        for_each_live(&mut |block| {
            live_bytes += block.size();
            let (first, last) = block.pages();
            pages.extend(first..=last);
        });
        let told = Told {
            final_bytes: anonymous_bytes.saturating_sub(stack_bytes),
            stack_bytes,
            start_bytes: self.start_bytes,
            live_bytes,
            floor_bytes: pages.len() * PAGE_BYTES,
        };
        println!("{}", told.line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_read() {
        let told =
            Told { final_bytes: 1, stack_bytes: 2, start_bytes: 3, live_bytes: 4, floor_bytes: 5 };
        assert_eq!(Told::parse(&told.line()), Some(told));
        assert_eq!(Told::parse("at rest: 1 2 3 4"), None);
        assert_eq!(Told::parse("1 2 3 4 5"), None);
    }
}
