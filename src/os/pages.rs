//! Pages from the operating system, by `mmap(2)`, `munmap(2)`, `madvise(2)` and `mremap(2)`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::errno::ErrnoKept;
use crate::page_source::PageSource;
use crate::units::{PAGE_BYTES, round_up};

/// Anonymous private memory of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsPages;

// SAFETY: anonymous private mappings are zeroed, page-aligned and nobody else's; `map` trims to
// the alignment asked for, and MADV_DONTNEED on such a mapping makes it read as zero again.
unsafe impl PageSource for OsPages {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let _errno = ErrnoKept::new();
        if align <= granularity() {
            return map_anonymous(bytes);
        }
        map_aligned(bytes, align)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        let _errno = ErrnoKept::new();
        // SAFETY: the caller gives the range up, and it is ours. The call fails only where it
        // would split a mapping past the kernel's count of them: then the pages go back and the
        // addresses stay, which loses nothing but address space.
        unsafe {
            if libc::munmap(base.as_ptr().cast(), bytes) != 0 {
                libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTNEED);
            }
        }
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        let _errno = ErrnoKept::new();
        // SAFETY: the caller promises that the range is ours and holds nothing that is wanted.
        unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTNEED) == 0 }
    }

    unsafe fn remap(
        &self,
        base: NonNull<u8>,
        old_bytes: usize,
        new_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let _errno = ErrnoKept::new();
        // SAFETY: the caller promises a whole mapping of ours; the kernel moves its pages or
        // leaves it as it is.
        let moved = unsafe {
            libc::mremap(base.as_ptr().cast(), old_bytes, new_bytes, libc::MREMAP_MAYMOVE)
        };
        let is_moved = moved != libc::MAP_FAILED;
        if is_moved && new_bytes > old_bytes && new_bytes >= DENSE_GROWTH_BYTES {
            // SAFETY: advice on the mapping just made, which changes no contents. Where the kernel
            // has no huge pages or is told not to use them, nothing happens.
            unsafe { libc::madvise(moved, new_bytes, libc::MADV_HUGEPAGE) };
        }
        is_moved.then(|| NonNull::new(moved.cast())).flatten()
    }

    fn granularity_bytes(&self) -> usize {
        granularity()
    }
}

/// A mapping that grows to this size or more may be backed by the kernel's huge pages.
///
/// What grows is filled from the front, a vector above all: one fault for 2 MiB instead of 512, and
/// at most one huge page, a thirty-second of the mapping, is resident ahead of use. Mappings that
/// were asked for at their full size are left alone, for they may be sparse.
const DENSE_GROWTH_BYTES: usize = 64 << 20;

/// The kernel's page size, asked for once.
fn granularity() -> usize {
    static KNOWN_BYTES: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: the value is the same whoever stores it, and guards nothing else.
    let known_bytes = KNOWN_BYTES.load(Ordering::Relaxed);
    if known_bytes != 0 {
        return known_bytes;
    }
    // SAFETY: reads a value that the kernel passed at start, or answers zero. `sysconf` would have
    // the same, and brings pages of the C library with it that a small program has no use for.
    let asked = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    let page_bytes = usize::try_from(asked).unwrap_or(PAGE_BYTES).max(PAGE_BYTES);
    KNOWN_BYTES.store(page_bytes, Ordering::Relaxed);
    page_bytes
}

fn map_anonymous(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    (base != libc::MAP_FAILED).then(|| NonNull::new(base.cast())).flatten()
}

/// Maps more than is needed, then unmaps what lies outside the aligned part.
fn map_aligned(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    // The tail begins on a page of the kernel's, which may be larger than ours.
    let bytes = round_up(bytes, granularity())?;
    let over_bytes = bytes.checked_add(align - granularity())?;
    let start = map_anonymous(over_bytes)?;
    let head_bytes = start.as_ptr().align_offset(align);
    let tail_bytes = over_bytes - head_bytes - bytes;
    // SAFETY: head, body and tail are consecutive parts of the mapping just made, and only the
    // body is kept.
    unsafe {
        let base = start.add(head_bytes);
        if head_bytes != 0 {
            libc::munmap(start.as_ptr().cast(), head_bytes);
        }
        if tail_bytes != 0 {
            libc::munmap(base.add(bytes).as_ptr().cast(), tail_bytes);
        }
        Some(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_mappings_are_aligned_zeroed_and_writable() {
        for align in [4096, 1 << 16, 4 << 20] {
            let base = OsPages.map(1 << 20, align).expect("a megabyte");
            assert_eq!(base.as_ptr().addr() % align, 0);
            // SAFETY: the megabyte is this test's own until it is unmapped.
            unsafe {
                assert!((0..1 << 20).step_by(511).all(|offset| base.add(offset).read() == 0));
                base.add((1 << 20) - 1).write(7);
                assert!(OsPages.purge(base, 1 << 20));
                assert_eq!(base.add((1 << 20) - 1).read(), 0);
                OsPages.unmap(base, 1 << 20);
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused_and_errno_is_kept() {
        // SAFETY: the location is this thread's errno.
        unsafe { *libc::__errno_location() = 42 };
        assert!(OsPages.map(1 << 60, 4096).is_none());
        assert!(OsPages.map(1 << 60, 4 << 20).is_none());
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, 42);
    }

    #[test]
    fn remap_moves_contents() {
        let base = OsPages.map(8192, 4096).expect("two pages");
        // SAFETY: both ranges are this test's own, one after the other.
        unsafe {
            base.write(9);
            let grown = OsPages.remap(base, 8192, 64 << 20).expect("growth");
            assert_eq!(grown.read(), 9);
            assert_eq!(grown.add((64 << 20) - 1).read(), 0);
            OsPages.unmap(grown, 64 << 20);
        }
    }
}
