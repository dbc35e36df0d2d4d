//! What the kernel has in memory of a range of addresses.

use std::io;

/// Pages asked about at a time; the kernel answers with a byte for each.
const PAGES_AT_ONCE: usize = 16 << 10;

/// Bytes of a kernel page.
pub(crate) fn kernel_page_bytes() -> usize {
    // SAFETY: the call has no conditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

/// Bytes of the pages that hold a range and are resident.
///
/// What is swapped out is not. The range need not be mapped: nothing is read there, and where some
/// of it is not, the answer is the kernel's error.
pub(crate) fn resident_bytes(address: usize, bytes: usize) -> io::Result<usize> {
    if bytes == 0 {
        return Ok(0);
    }
    let page_bytes = kernel_page_bytes();
    let first = address & !(page_bytes - 1);
    let pages = (address - first + bytes).div_ceil(page_bytes);
    let mut states = vec![0_u8; pages.min(PAGES_AT_ONCE)];
    let mut resident_pages = 0;
    let mut done_pages = 0;
    while done_pages < pages {
        let now_pages = (pages - done_pages).min(PAGES_AT_ONCE);
        let start = std::ptr::without_provenance_mut(first + done_pages * page_bytes);
        // SAFETY: the kernel writes one byte for each page, and there is room for them; at the
        // addresses themselves it reads and writes nothing.
        let answer = unsafe { libc::mincore(start, now_pages * page_bytes, states.as_mut_ptr()) };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        resident_pages += states[..now_pages].iter().filter(|&state| state & 1 != 0).count();
        done_pages += now_pages;
    }
    Ok(resident_pages * page_bytes)
}

#[cfg(test)]
mod tests {
    use std::alloc::Layout;

    use capmalloc::Heap;

    use super::*;

    #[test]
    fn pages_count_once_they_are_written_to() {
        let (heap, page) = (Heap::new().unwrap(), kernel_page_bytes());
        // More than one question's worth of pages.
        let pages = PAGES_AT_ONCE + 10;
        let block = heap.alloc(Layout::from_size_align(pages * page, page).unwrap()).unwrap();
        let address = block.addr().get();
        assert_eq!(resident_bytes(address, pages * page).unwrap(), 0);
        for index in [0, 1, PAGES_AT_ONCE - 1, PAGES_AT_ONCE, pages - 1] {
            // SAFETY: the page is within the block.
            unsafe { block.add(index * page).write(1) };
        }
        assert_eq!(resident_bytes(address, pages * page).unwrap(), 5 * page);
        assert_eq!(resident_bytes(address + 10, 20).unwrap(), page);
        assert_eq!(resident_bytes(address, 0).unwrap(), 0);
    }

    #[test]
    fn a_range_that_is_not_mapped_is_an_error() {
        assert!(resident_bytes(kernel_page_bytes(), 10).is_err());
    }
}
