//! The text formats of the kernel's files about control groups.

use core::num::NonZero;

use super::Hierarchy;
use crate::os::text::decimal;

/// Where a tree of control groups, or a part of it, is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    /// The path of the group that is at the top of the mount.
    pub(super) root: &'a [u8],
    /// The directory that stands for that group.
    pub(super) point: &'a [u8],
}

/// Returns the path in a line of `/proc/self/cgroup`, if the line is about
/// `hierarchy`.
///
/// The lines are `<number>:<controllers>:<path>`. The unified hierarchy is the one
/// with number 0 and no controllers. The path may contain further colons.
pub(super) fn group(line: &[u8], hierarchy: Hierarchy) -> Option<&[u8]> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_sought = match hierarchy {
        Hierarchy::Unified => number == b"0" && controllers.is_empty(),
        Hierarchy::Legacy => lists(controllers, b"cpu"),
    };
    (is_sought && path.starts_with(b"/")).then_some(path)
}

/// Returns the mount that a line of `/proc/self/mountinfo` describes, if it is one of
/// `hierarchy`.
///
/// The lines are `<id> <parent> <device> <root> <point> <options> <tag>... - <type>
/// <source> <super options>`, with any number of tags, and with spaces and
/// backslashes inside a field escaped, which is undone in place.
pub(super) fn mount(line: &mut [u8], hierarchy: Hierarchy) -> Option<Mount<'_>> {
    let mut fields = line.split_mut(|byte| *byte == b' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    fields.find(|field| **field == *b"-")?;
    let (kind, super_options) = (fields.next()?, fields.nth(1)?);
    let is_sought = match hierarchy {
        Hierarchy::Unified => *kind == *b"cgroup2",
        Hierarchy::Legacy => *kind == *b"cgroup" && lists(super_options, b"cpu"),
    };
    is_sought.then(|| Mount { root: unescape(root), point: unescape(point) })
}

/// Says whether `word` is one of the words in `list`, which are separated by commas.
fn lists(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item == word)
}

/// Replaces every escape in `field`, a backslash and three octal digits, by the byte
/// it stands for.
fn unescape(field: &mut [u8]) -> &[u8] {
    let mut length = 0_usize;
    let mut next = 0_usize;
    while let Some(rest) = field.get(next..).filter(|rest| !rest.is_empty()) {
        let (byte, consumed) = unescape_first(rest);
        if let Some(slot) = field.get_mut(length) {
            *slot = byte;
        }
        length = length.saturating_add(1);
        next = next.saturating_add(consumed);
    }
    field.get(..length).unwrap_or_default()
}

/// Returns the first byte that `text` stands for, and the number of bytes of `text`
/// that takes. A backslash that does not begin an escape stands for itself.
fn unescape_first(text: &[u8]) -> (u8, usize) {
    if let [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', ..] = text {
        let digits = [high, middle, low];
        let byte = digits.iter().fold(0, |byte, digit| (byte << 3) | (**digit & 7));
        return (byte, 4);
    }
    (text.first().copied().unwrap_or_default(), 1)
}

/// Returns the part of the path `group` that is below the group `root`, empty when
/// they are the same, or `None` when `group` is not at or below `root`.
///
/// A process that was moved out of its namespace sees itself in a group such as
/// `/../other`, which is not below `/`, although it is below `/..`.
pub(super) fn path_below<'a>(group: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let below = group.strip_prefix(without_final_slash(root))?;
    let is_whole_name = below.is_empty() || below.starts_with(b"/");
    let climbs = below.split(|byte| *byte == b'/').any(|name| name == b"..");
    (is_whole_name && !climbs).then(|| without_final_slash(below))
}

/// Returns `path` without the slash at its end, which leaves nothing of `/`.
fn without_final_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Returns the two numbers in a `cpu.max` file, in microseconds, or `None` when there
/// is no quota, which is written as `max`.
pub(super) fn quota_and_period(value: &[u8]) -> Option<(NonZero<u64>, NonZero<u64>)> {
    let mut words = value.trim_ascii().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (quota, period) = (words.next()?, words.next()?);
    Some((microseconds(quota)?, microseconds(period)?))
}

/// Returns the one number in a quota or period file, or `None` when it is not a
/// number, not positive (`-1` is no quota), or too large.
pub(super) fn microseconds(value: &[u8]) -> Option<NonZero<u64>> {
    NonZero::new(decimal(value.trim_ascii())?)
}

#[cfg(test)]
mod tests;
