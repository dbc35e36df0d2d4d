//! Reading small kernel files with nothing but system calls and the stack.
//!
//! Everything here runs inside the process's first allocation, so nothing may
//! allocate or panic: buffers are fixed arrays, slices are taken with `get`, and
//! whatever does not fit is reported as absent.

use core::ffi::CStr;
use core::ops::Range;

use libc::c_int;

/// How long a path or a line may be before it is given up on, in bytes.
///
/// Three buffers of this size are live at the deepest point of a quota lookup,
/// which keeps the whole lookup within 8 KiB of stack when it is optimised.
pub(crate) const TEXT_CAPACITY_BYTES: usize = 2048;

/// Returns the calling thread's `errno`.
pub(crate) fn last_error() -> c_int {
    // SAFETY: `__errno_location` takes nothing and returns the address of the
    // calling thread's `errno`, an aligned, initialised int that lives as long as the
    // thread and that no other thread writes.
    unsafe { *libc::__errno_location() }
}

/// A path built on the stack, always terminated so that the kernel can read it.
pub(crate) struct Path {
    /// The path, then a zero byte at `length`.
    bytes: [u8; TEXT_CAPACITY_BYTES],
    /// The number of bytes before the terminator.
    length: usize,
}

impl Path {
    /// Returns the empty path.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; TEXT_CAPACITY_BYTES], length: 0 }
    }

    /// Appends `text` exactly as it is, or returns `None` and changes nothing when
    /// it does not fit.
    pub(crate) fn push(&mut self, text: &[u8]) -> Option<()> {
        let end = self.length.checked_add(text.len())?;
        let (terminator, room) = self.bytes.get_mut(self.length..=end)?.split_last_mut()?;
        for (slot, byte) in room.iter_mut().zip(text) {
            *slot = *byte;
        }
        *terminator = 0;
        self.length = end;
        Some(())
    }

    /// Cuts the path back to its first `length` bytes, if it is longer than that.
    pub(crate) fn truncate(&mut self, length: usize) {
        if length < self.length
            && let Some(terminator) = self.bytes.get_mut(length)
        {
            *terminator = 0;
            self.length = length;
        }
    }

    /// Removes the last component, and says whether there was one beyond the first
    /// `floor` bytes.
    pub(crate) fn ascend(&mut self, floor: usize) -> bool {
        let beyond = self.as_bytes().get(floor..).unwrap_or_default();
        let Some(slash) = beyond.iter().rposition(|byte| *byte == b'/') else {
            return false;
        };
        self.truncate(floor.saturating_add(slash));
        true
    }

    /// Returns the path without its terminator.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Returns the path as the kernel wants it, or `None` when a zero byte inside it
    /// would make the kernel open something else.
    fn as_c_str(&self) -> Option<&CStr> {
        CStr::from_bytes_with_nul(self.bytes.get(..=self.length)?).ok()
    }
}

/// A file open for reading, closed when dropped.
pub(crate) struct File(c_int);

impl File {
    /// Opens the file at `path`, or returns `None` when that cannot be done.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let path = path.as_c_str()?;
        loop {
            // SAFETY: `path` is a terminated string that outlives the call, and `open`
            // wants a third argument only for flags that create a file.
            let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
            if descriptor >= 0 {
                return Some(Self(descriptor));
            }
            if last_error() != libc::EINTR {
                return None;
            }
        }
    }

    /// Reads once into `buffer`, and returns the number of bytes read, 0 at the end
    /// of the file, or `None` on an error.
    fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            // SAFETY: the kernel writes at most `buffer.len()` bytes, all within
            // `buffer`, which is borrowed mutably until the call returns.
            let read = unsafe { libc::read(self.0, buffer.as_mut_ptr().cast(), buffer.len()) };
            if let Ok(read) = usize::try_from(read) {
                return Some(read);
            }
            if last_error() != libc::EINTR {
                return None;
            }
        }
    }

    /// Reads the whole file into `buffer`, or returns `None` on an error and when the
    /// file does not leave at least one byte of `buffer` free.
    pub(crate) fn read_all<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut length = 0_usize;
        loop {
            let room = buffer.get_mut(length..).filter(|room| !room.is_empty())?;
            match self.read(room)? {
                0 => return buffer.get(..length),
                read => length = length.saturating_add(read),
            }
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor, and nothing can use it after this.
        // On Linux the descriptor is gone even when `close` is interrupted, so it must
        // not be closed again.
        unsafe { libc::close(self.0) };
    }
}

/// The lines of a file of any length, read through a buffer of `CAPACITY` bytes.
///
/// Lines that do not fit in the buffer with their newline are left out: nothing
/// this crate looks for is that long, and half a line could be misread.
pub(crate) struct Lines<const CAPACITY: usize> {
    /// Where the lines come from.
    file: File,
    /// The bytes read so far and not yet returned, at `unread`.
    buffer: [u8; CAPACITY],
    /// The part of `buffer` that is yet to be returned.
    unread: Range<usize>,
    /// Whether the file has no more bytes to give.
    is_exhausted: bool,
}

impl<const CAPACITY: usize> Lines<CAPACITY> {
    /// Returns the lines of `file` from where it stands.
    pub(crate) fn new(file: File) -> Self {
        Self { file, buffer: [0; CAPACITY], unread: 0..0, is_exhausted: false }
    }

    /// Returns the next line that fits, without its newline.
    pub(crate) fn next(&mut self) -> Option<&mut [u8]> {
        let mut is_tail_of_long_line = false;
        loop {
            if let Some(line) = self.take_line() {
                if !is_tail_of_long_line {
                    return self.buffer.get_mut(line);
                }
                is_tail_of_long_line = false;
            } else if self.is_exhausted {
                let line = core::mem::replace(&mut self.unread, 0..0);
                let is_line = !is_tail_of_long_line && !line.is_empty();
                return self.buffer.get_mut(line).filter(|_| is_line);
            } else {
                is_tail_of_long_line |= self.make_room();
                self.fill();
            }
        }
    }

    /// Takes the bytes up to the next newline out of the unread part.
    fn take_line(&mut self) -> Option<Range<usize>> {
        let unread = self.buffer.get(self.unread.clone())?;
        let length = unread.iter().position(|byte| *byte == b'\n')?;
        let start = self.unread.start;
        let end = start.saturating_add(length);
        self.unread.start = end.saturating_add(1);
        Some(start..end)
    }

    /// Moves the unread part to the front of the buffer, or drops it and returns true
    /// when it fills the whole buffer, as the start of a line that cannot fit.
    fn make_room(&mut self) -> bool {
        let end = self.unread.end.min(CAPACITY);
        let start = self.unread.start.min(end);
        if end - start == CAPACITY {
            self.unread = 0..0;
            return true;
        }
        self.buffer.copy_within(start..end, 0);
        self.unread = 0..end - start;
        false
    }

    /// Reads more bytes after the unread ones. An error ends the file and forgets the
    /// unread bytes, because they may be half a line.
    fn fill(&mut self) {
        let room = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
        match self.file.read(room) {
            Some(0) => self.is_exhausted = true,
            Some(read) => self.unread.end = self.unread.end.saturating_add(read),
            None => {
                self.is_exhausted = true;
                self.unread = 0..0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
