//! What the kernel says of the memory of processes.

use std::fs::read_to_string;

/// Bytes that are resident and in no file, as the kernel's counters have them: cheap, and late by
/// some dozens of pages.
pub(super) fn anonymous_bytes_by_counters(process: u32) -> Option<usize> {
    let text = read_to_string(format!("/proc/{process}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<usize>);
    let (resident, in_files) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(in_files) * 4096)
}

/// What processes of one family hold together, each page counted once: the sum of what is resident
/// and in no file, where a page that several of them share counts as its part in each.
pub(super) fn family_bytes(family: impl Iterator<Item = u32>) -> Option<usize> {
    family.map(|process| rolled_up(process, "Pss_Anon:")).sum()
}

/// Bytes of pages that a process wrote to and shares with no other.
pub(super) fn private_dirty_bytes(process: u32) -> Option<usize> {
    rolled_up(process, "Private_Dirty:")
}

/// One sum over all mappings of a process.
fn rolled_up(process: u32, name: &str) -> Option<usize> {
    let text = read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_what_it_wrote() {
        let bytes = 16 << 20;
        let block = vec![1_u8; bytes];
        let process = std::process::id();
        let figures = [
            anonymous_bytes_by_counters(process),
            family_bytes([process].into_iter()),
            private_dirty_bytes(process),
        ];
        assert!(figures.iter().all(|held| held.is_some_and(|held| held > bytes)), "{figures:?}");
        assert_eq!(family_bytes([process, 0].into_iter()), None, "there is no process 0");
        drop(block);
    }
}
