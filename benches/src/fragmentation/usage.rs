//! What a process took besides memory: processor time, page faults, calls of the kernel.

use std::fs::{read_dir, read_to_string};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use libc::{c_int, c_void, size_t};

use super::ledger::Ledger;

static MADVISE_CALLS: AtomicU64 = AtomicU64::new(0);

/// `madvise(2)`, counted.
///
/// A program that defines `madvise` by this function counts the calls of every allocator that is
/// linked into it, but for those that the C library's own makes, inside of the library.
///
/// # Safety
///
/// As of `madvise` itself.
pub unsafe fn counted_madvise(address: *mut c_void, length: size_t, advice: c_int) -> c_int {
    MADVISE_CALLS.fetch_add(1, Relaxed);
    // SAFETY: the caller's promise; the kernel checks its arguments.
    unsafe { libc::syscall(libc::SYS_madvise, address, length, advice) as c_int }
}

/// What a process took since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) cpu_nanoseconds: u64,
    /// Page faults served without reading from a disk.
    pub(super) minor_faults: u64,
    pub(super) madvise_calls: u64,
}

impl Usage {
    pub(super) fn of_this_process() -> Self {
        // SAFETY: zeroes are a value of the type, which the kernel then writes.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0, "its own usage");
            usage
        };
        Self {
            cpu_nanoseconds: nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime),
            minor_faults: usage.ru_minflt as u64,
            madvise_calls: MADVISE_CALLS.load(Relaxed),
        }
    }

    /// Adds what a child, which is this process, took since it had taken `start`.
    pub(super) fn add_to(self, start: Usage, ledger: &Ledger) {
        let sums = &ledger.child_sums;
        sums.cpu_nanoseconds.fetch_add(self.cpu_nanoseconds - start.cpu_nanoseconds, Relaxed);
        sums.minor_faults.fetch_add(self.minor_faults - start.minor_faults, Relaxed);
        sums.madvise_calls.fetch_add(self.madvise_calls - start.madvise_calls, Relaxed);
    }

    /// With what the children added.
    pub(super) fn with_children(self, ledger: &Ledger) -> Self {
        let sums = &ledger.child_sums;
        Self {
            cpu_nanoseconds: self.cpu_nanoseconds + sums.cpu_nanoseconds.load(Relaxed),
            minor_faults: self.minor_faults + sums.minor_faults.load(Relaxed),
            madvise_calls: self.madvise_calls + sums.madvise_calls.load(Relaxed),
        }
    }
}

fn nanoseconds(time: libc::timeval) -> u64 {
    (time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64) * 1000
}

/// How long the threads that are alive were ready and had no processor, in percent of the time
/// that they had one. Nothing where the kernel does not tell.
pub(super) fn waited_percent() -> Option<f64> {
    let (mut ran, mut waited) = (0, 0);
    for task in read_dir("/proc/self/task").ok()?.flatten() {
        // A thread that ended meanwhile is left out.
        let Ok(text) = read_to_string(task.path().join("schedstat")) else { continue };
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        ran += numbers.next()?.ok()?;
        waited += numbers.next()?.ok()?;
    }
    (ran > 0).then(|| 100.0 * waited as f64 / ran as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_and_passed_on() {
        let before = Usage::of_this_process();
        // SAFETY: no mapping lies at address 0, so nothing is changed.
        let status = unsafe { counted_madvise(std::ptr::null_mut(), 4096, libc::MADV_DONTNEED) };
        let after = Usage::of_this_process();
        assert_eq!(status, -1);
        assert!(after.madvise_calls > before.madvise_calls);
        assert!(after.cpu_nanoseconds >= before.cpu_nanoseconds && after.minor_faults > 0);
    }
}
