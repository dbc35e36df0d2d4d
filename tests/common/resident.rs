//! What the kernel says of this process's resident memory.

/// Bytes of this process's pages that are resident.
///
/// The walk over the page tables, where the kernel offers one: its counters may lag
/// by dozens of pages for each processor.
pub(crate) fn bytes() -> usize {
    bytes_of(std::process::id())
}

/// The same of another process.
pub(crate) fn bytes_of(process: u32) -> usize {
    let by_walk = || kilobytes(&format!("/proc/{process}/smaps_rollup"), "Rss:");
    let by_counters = || kilobytes(&format!("/proc/{process}/status"), "VmRSS:");
    by_walk().or_else(by_counters).expect("the kernel tells a process's size") * 1024
}

/// Bytes of this process's pages that are resident and lie in no file, by the walk where there is
/// one.
pub(crate) fn anonymous_bytes() -> usize {
    let by_walk = || kilobytes("/proc/self/smaps_rollup", "Anonymous:");
    let by_counters = || kilobytes("/proc/self/status", "RssAnon:");
    by_walk().or_else(by_counters).expect("the kernel tells a process's size") * 1024
}

/// Bytes of another process's pages that are resident and lie in no file: its data, not its code.
pub(crate) fn anonymous_bytes_of(process: u32) -> usize {
    let path = format!("/proc/{process}/status");
    kilobytes(&path, "RssAnon:").expect("the kernel tells a process's size") * 1024
}

/// Bytes of this process's pages that were written to and that no other process shares.
pub(crate) fn private_dirty_bytes() -> usize {
    let rolled_up = kilobytes("/proc/self/smaps_rollup", "Private_Dirty:");
    rolled_up.expect("the kernel tells what is shared") * 1024
}

/// The most bytes that were ever resident.
pub(crate) fn peak_bytes() -> usize {
    kilobytes("/proc/self/status", "VmHWM:").expect("the kernel tells the peak") * 1024
}

/// The number behind `name` in one of the kernel's lists.
fn kilobytes(path: &str, name: &str) -> Option<usize> {
    use std::io::Read as _;
    // Read onto the stack, so that the look changes nothing of what it looks at.
    let mut text = [0; 4096];
    let length = std::fs::File::open(path).ok()?.read(&mut text).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
