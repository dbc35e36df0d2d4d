//! Arrays in memory of their own, which no allocator knows of.
//!
//! What a replay needs for itself must not be counted with what the allocator under test holds. So
//! it comes from the operating system directly, and as shared memory: the kernel counts that apart
//! (`RssShmem`) from the anonymous memory that allocators use (`RssAnon`).

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};

use super::error::TraceError;

/// A value whose bytes may all be zero.
///
/// # Safety
///
/// Memory full of zeros must be a valid value of the type, which must not need to be dropped.
pub unsafe trait Zeroable {}

// SAFETY: A zero is a number.
unsafe impl Zeroable for u8 {}
// SAFETY: A zero is a number.
unsafe impl Zeroable for u32 {}

/// An array of fixed length that begins as zeros.
#[derive(Debug)]
pub struct Table<T: Zeroable> {
    memory: NonNull<T>,
    length: usize,
    values: PhantomData<T>,
}

// SAFETY: A table owns its values, as a vector does.
unsafe impl<T: Zeroable + Send> Send for Table<T> {}
// SAFETY: A shared table gives only shared values.
unsafe impl<T: Zeroable + Sync> Sync for Table<T> {}

impl<T: Zeroable> Table<T> {
    /// Takes memory for an array of this length; only what is used of it becomes resident.
    ///
    /// # Errors
    ///
    /// When the system has no room for it.
    pub fn zeroed(length: usize) -> Result<Self, TraceError> {
        let empty = Self { memory: NonNull::dangling(), length: 0, values: PhantomData };
        if length == 0 {
            return Ok(empty);
        }
        let bytes = length.saturating_mul(size_of::<T>());
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: A new mapping at any address.
        let memory = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
        match NonNull::new(memory.cast::<T>()) {
            // A mapping is aligned to a page, and no type here to more.
            Some(start) if memory != libc::MAP_FAILED => {
                Ok(Self { memory: start, length, ..empty })
            }
            _ => {
                let what = format!("a table of {bytes} bytes");
                Err(TraceError::system(what, io::Error::last_os_error()))
            }
        }
    }

    /// How much address space the table takes, all of it resident once it is used.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }

    /// Makes the whole table resident.
    pub fn populate(&mut self) {
        const PAGE_BYTES: usize = 4096;
        for offset in (0..self.bytes()).step_by(PAGE_BYTES) {
            // SAFETY: The byte is in the table, which is borrowed for writing, and gets the value
            // that it has. Volatile, because this is done for the page and not for the byte.
            unsafe {
                let byte = self.memory.cast::<u8>().add(offset);
                byte.write_volatile(byte.read_volatile());
            }
        }
    }
}

impl<T: Zeroable> Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: The mapping has room for as many values, began as zeros, which are valid values
        // by the trait's promise, and lives as long as the table.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl<T: Zeroable> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As above, and the table is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.length) }
    }
}

impl<T: Zeroable> Drop for Table<T> {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: The mapping is the table's own, and its values need no drop.
            unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_begins_as_zeros_and_keeps_what_is_written() {
        let mut table = Table::<u32>::zeroed(5000).expect("20 KB");
        table[4999] = 7;
        table.populate();
        assert!(table[..4999].iter().all(|&value| value == 0));
        assert_eq!((table.len(), table[4999], table.bytes()), (5000, 7, 20_000));
    }

    #[test]
    fn a_table_of_nothing_takes_no_mapping() {
        assert!(Table::<u32>::zeroed(0).expect("nothing").is_empty());
    }

    #[test]
    fn a_table_that_no_system_has_room_for_is_an_error() {
        for length in [1 << 58, usize::MAX] {
            let error = Table::<u32>::zeroed(length).expect_err("no room").to_string();
            assert!(error.contains("a table of"), "{error}");
        }
    }
}
