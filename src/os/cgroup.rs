//! The CPU quota that control groups put on this process.
//!
//! A container with "2.5 CPUs" usually sees every CPU of its machine: the limit is a
//! quota of CPU time on its control group, or on any group around it. Both versions
//! of control groups are understood, also when they are mounted side by side, as
//! long as the paths involved are shorter than [`TEXT_CAPACITY_BYTES`].

mod parse;

use super::file::{File, Lines, Path, TEXT_CAPACITY_BYTES};
use parse::Mount;

/// The size of the buffer for a file that holds a quota or a period, in bytes. The
/// longest, two 64-bit numbers, takes 42.
const VALUE_CAPACITY_BYTES: usize = 64;

/// One of the two kinds of trees of control groups that may limit CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hierarchy {
    /// Version 2: one tree for all kinds of limits.
    Unified,
    /// Version 1: a tree of its own for the `cpu` controller.
    Legacy,
}

/// Returns the number of CPUs whose worth of time this process may use, rounded up,
/// or `None` when no quota can be found.
///
/// `root` goes in front of every path that is read: it is empty, except in tests.
pub(crate) fn cpu_limit(root: &[u8]) -> Option<usize> {
    let unified = limit_in(Hierarchy::Unified, root);
    let legacy = limit_in(Hierarchy::Legacy, root);
    smallest(unified, legacy)
}

/// Returns the smaller of two limits, where `None` is no limit.
fn smallest(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// Returns the limit that one tree of control groups sets.
fn limit_in(hierarchy: Hierarchy, root: &[u8]) -> Option<usize> {
    let mut group = Path::new();
    find_group(hierarchy, root, &mut group)?;
    limit_for(hierarchy, root, group.as_bytes())
}

/// Stores in `group` the path of the group this process is in.
///
/// This and the other functions with a buffer are never inlined, which keeps the
/// buffers of one off the stack while another runs.
#[inline(never)]
fn find_group(hierarchy: Hierarchy, root: &[u8], group: &mut Path) -> Option<()> {
    let mut lines = Lines::<TEXT_CAPACITY_BYTES>::new(open(root, b"/proc/self/cgroup")?);
    loop {
        if let Some(path) = parse::group(lines.next()?, hierarchy) {
            return group.push(path);
        }
    }
}

/// Returns the limit of the group with the path `group`.
///
/// A tree may be mounted several times, and a mount may show only the part of it
/// below some group. A mount that shows `group` is trusted; only when none does, as
/// in a container that was given a mount made elsewhere, the group at the top of the
/// first mount is taken for this process's own.
#[inline(never)]
fn limit_for(hierarchy: Hierarchy, root: &[u8], group: &[u8]) -> Option<usize> {
    let mut limit = None;
    let mut limit_elsewhere = None;
    let mut is_visible = false;
    let mut lines = Lines::<TEXT_CAPACITY_BYTES>::new(open(root, b"/proc/self/mountinfo")?);
    while let Some(line) = lines.next() {
        let Some(mount) = parse::mount(line, hierarchy) else {
            continue;
        };
        if let Some(below) = parse::path_below(group, mount.root) {
            is_visible = true;
            limit = smallest(limit, limit_along(hierarchy, root, &mount, below));
        } else if limit_elsewhere.is_none() {
            limit_elsewhere = Some(limit_along(hierarchy, root, &mount, b""));
        }
    }
    if is_visible { limit } else { limit_elsewhere.flatten() }
}

/// Returns the smallest limit of the group at `below` the top of `mount` and of all
/// the groups around it, up to the top.
///
/// A group that does not exist there is passed over like one without a quota.
#[inline(never)]
fn limit_along(
    hierarchy: Hierarchy,
    root: &[u8],
    mount: &Mount<'_>,
    below: &[u8],
) -> Option<usize> {
    let mut directory = Path::new();
    directory.push(root)?;
    directory.push(mount.point)?;
    let top_bytes = directory.as_bytes().len();
    directory.push(below)?;
    let mut limit = None;
    loop {
        limit = smallest(limit, limit_of(hierarchy, &mut directory));
        if !directory.ascend(top_bytes) {
            return limit;
        }
    }
}

/// Returns the limit of the group whose files are in `directory`.
fn limit_of(hierarchy: Hierarchy, directory: &mut Path) -> Option<usize> {
    let mut value = [0; VALUE_CAPACITY_BYTES];
    let (quota, period) = match hierarchy {
        Hierarchy::Unified => parse::quota_and_period(read(directory, b"/cpu.max", &mut value)?)?,
        Hierarchy::Legacy => {
            let quota = read(directory, b"/cpu.cfs_quota_us", &mut value)?;
            let quota = parse::microseconds(quota)?;
            let period = read(directory, b"/cpu.cfs_period_us", &mut value)?;
            (quota, parse::microseconds(period)?)
        }
    };
    usize::try_from(quota.get().div_ceil(period.get())).ok()
}

/// Reads the small file `name` in `directory` into `value`.
fn read<'a>(directory: &mut Path, name: &[u8], value: &'a mut [u8]) -> Option<&'a [u8]> {
    let directory_bytes = directory.as_bytes().len();
    directory.push(name)?;
    let file = File::open(directory);
    directory.truncate(directory_bytes);
    file?.read_all(value)
}

/// Opens the file `name` as seen from `root`.
#[inline(never)]
fn open(root: &[u8], name: &[u8]) -> Option<File> {
    let mut path = Path::new();
    path.push(root)?;
    path.push(name)?;
    File::open(&path)
}

#[cfg(test)]
mod tests;
