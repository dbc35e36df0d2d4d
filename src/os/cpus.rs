//! How many CPUs this process can keep busy.

use core::ffi::c_ulong;

use libc::c_int;

use super::cgroup;
use super::errno::ErrnoKept;
use super::file::last_error;

/// The number of words in an affinity mask for 8192 CPUs, the most that any
/// distribution builds its kernel for.
const USUAL_MASK_WORDS: usize = words_for(8192);

/// The number of words in the mask that is tried after that.
const LARGE_MASK_WORDS: usize = words_for(32 * 1024);

/// Returns the number of words in a mask for `cpus` CPUs.
const fn words_for(cpus: usize) -> usize {
    cpus.div_ceil(c_ulong::BITS as usize)
}

/// Returns the number of CPUs the process can use at the same time, at least 1.
///
/// That is the number of CPUs the calling thread may run on, or fewer when a control
/// group limits the CPU time of the process to that of fewer CPUs, rounded up. A
/// thread inherits the CPUs it may run on from the thread that started it, so at the
/// process's first allocation they are the ones the process was given.
///
/// This reads several files, so callers keep the result. It neither allocates nor
/// panics, uses less than 10 KiB of stack, and leaves `errno` alone.
pub(crate) fn usable() -> usize {
    let _errno = ErrnoKept::new();
    let cpus = in_affinity_mask().or_else(online).unwrap_or(1);
    if cpus == 1 {
        // No quota can make that fewer, so the files need not be read.
        return 1;
    }
    let limit = cgroup::cpu_limit(b"").unwrap_or(usize::MAX);
    cpus.min(limit).max(1)
}

/// Returns the number of CPUs the calling thread may run on.
fn in_affinity_mask() -> Option<usize> {
    match count_in_mask::<USUAL_MASK_WORDS>() {
        // The kernel has room for more CPUs than the mask.
        Err(libc::EINVAL) => count_in_mask::<LARGE_MASK_WORDS>().ok(),
        result => result.ok(),
    }
}

/// Returns the number of CPUs in the calling thread's affinity mask, or the `errno`
/// that says why a mask of `WORDS` words could not be had.
#[inline(never)]
fn count_in_mask<const WORDS: usize>() -> Result<usize, c_int> {
    let mut mask: [c_ulong; WORDS] = [0; WORDS];
    let start: *mut c_ulong = mask.as_mut_ptr();
    // SAFETY: 0 is the calling thread. `start` is aligned for words, as a `cpu_set_t`
    // is, and the call writes nothing but words of bits, at most `size_of_val(&mask)`
    // bytes of them, all within `mask`. The kernel's own call rather than the C library's, whose
    // pages a small program would hold for this alone; it answers how many bytes it wrote.
    let status =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&mask), start) };
    if status < 0 {
        return Err(last_error());
    }
    let count = mask.iter().map(|word| word.count_ones()).fold(0, u32::saturating_add);
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or(libc::ENODATA)
}

/// Returns the number of CPUs that are switched on.
fn online() -> Option<usize> {
    // SAFETY: `sysconf` takes only a number and has no preconditions.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::{count_in_mask, in_affinity_mask, online, usable};

    #[test]
    fn there_is_a_usable_cpu() {
        let scheduled = in_affinity_mask().expect("there is no affinity mask");
        assert!((1..=scheduled).contains(&usable()));
        assert!(online().is_some_and(|count| count >= scheduled));
    }

    #[test]
    fn affinity_is_what_the_kernel_lists() {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("cannot read");
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .expect("there is no list of CPUs");
        let count: usize = list.trim().split(',').map(count_in_range).sum();
        assert_eq!(in_affinity_mask(), Some(count));
    }

    /// Returns how many numbers there are in `3` or in `2-5`.
    fn count_in_range(range: &str) -> usize {
        let number = |text: &str| text.parse::<usize>().expect("not a CPU number");
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        number(last) - number(first) + 1
    }

    #[test]
    fn affinity_follows_the_thread() {
        let mut mask = [0_u64; 16];
        let size_bytes = size_of_val(&mask);
        // SAFETY: both calls are about the calling thread only, and are given the size
        // of `mask`, which is aligned like a `cpu_set_t`.
        let status = unsafe { libc::sched_getaffinity(0, size_bytes, mask.as_mut_ptr().cast()) };
        assert_eq!(status, 0);
        let word = mask.iter_mut().find(|word| **word != 0).expect("no CPU");
        let lowest = *word & word.wrapping_neg();
        let position = mask.iter().position(|word| *word != 0).expect("no CPU");
        mask = [0; 16];
        mask[position] = lowest;
        // SAFETY: as above; the mask holds a CPU the thread was already allowed to use.
        let status = unsafe { libc::sched_setaffinity(0, size_bytes, mask.as_ptr().cast()) };
        assert_eq!(status, 0);
        assert_eq!(in_affinity_mask(), Some(1));
        assert_eq!(usable(), 1);
    }

    #[test]
    fn a_mask_that_is_too_small_is_an_error() {
        assert_eq!(count_in_mask::<0>(), Err(libc::EINVAL));
    }

    #[test]
    fn errno_is_left_alone() {
        let location = || {
            // SAFETY: this is the address of the calling thread's own `errno`.
            unsafe { libc::__errno_location() }
        };
        // SAFETY: the pointer is valid for as long as the thread runs.
        unsafe { *location() = libc::EXDEV };
        let _ = usable();
        // SAFETY: as above.
        assert_eq!(unsafe { *location() }, libc::EXDEV);
    }
}
