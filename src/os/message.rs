//! One-line messages on standard error, for when there is no allocator to lean on.

use core::fmt::{self, Write as _};

use libc::c_int;

use super::errno::ErrnoKept;
use super::file::last_error;

/// The size of a whole message with its newline, in bytes.
///
/// Linux writes up to 4096 bytes to a pipe in one piece, so messages of this size
/// from several threads or processes never mix.
const LINE_CAPACITY_BYTES: usize = 512;

/// What ends a message that did not fit.
const CUT_MARK: &[u8] = b"...";

/// How much text a message holds: the rest is kept for the mark and the newline.
const TEXT_CAPACITY_BYTES: usize = LINE_CAPACITY_BYTES - CUT_MARK.len() - 1;

/// A message under construction, on the stack.
///
/// Text that does not fit is dropped, together with everything written after it, and
/// `...` is put in its place.
pub(crate) struct Line {
    /// The message; the part past `length` means nothing.
    bytes: [u8; LINE_CAPACITY_BYTES],
    /// The number of bytes written so far.
    length: usize,
    /// Whether some text did not fit.
    is_cut: bool,
}

impl Line {
    /// Returns an empty message.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; LINE_CAPACITY_BYTES], length: 0, is_cut: false }
    }

    /// Appends `bytes`, which the callers have made sure will fit.
    fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        for (slot, byte) in room.iter_mut().zip(bytes) {
            *slot = *byte;
            self.length = self.length.saturating_add(1);
        }
    }

    /// Ends the message, and returns all of it with its newline.
    fn finish(&mut self) -> &[u8] {
        if self.is_cut {
            self.push(CUT_MARK);
        }
        self.push(b"\n");
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Writes the message and a newline to standard error, in one `write` unless the
    /// kernel takes only part of it.
    ///
    /// Errors are ignored, since there is nowhere to report them, and `errno` is left
    /// as it was.
    pub(crate) fn finish_to_standard_error(mut self) {
        let _errno = ErrnoKept::new();
        write_all(libc::STDERR_FILENO, self.finish());
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Ok(());
        }
        let room = TEXT_CAPACITY_BYTES.saturating_sub(self.length);
        let fitting = text.get(..text.floor_char_boundary(room)).unwrap_or("");
        self.is_cut = fitting.len() < text.len();
        self.push(fitting.as_bytes());
        Ok(())
    }
}

/// Writes all of `bytes`, or gives up at the first error that is not an interruption.
fn write_all(descriptor: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads at most `bytes.len()` bytes, all within `bytes`,
        // which stays borrowed until the call returns.
        let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(_) if last_error() == libc::EINTR => {}
            Err(_) => return,
        }
    }
}

/// Writes `arguments` to standard error, on one line that says where it comes from.
///
/// Formatting numbers, strings and pointers does not allocate; whoever passes
/// something else must see to it that showing it does not either.
#[cold]
pub(crate) fn warn(arguments: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // A `Line` never fails; an argument that does has still written what it could.
    let _ = write!(line, "capmalloc: {arguments}");
    line.finish_to_standard_error();
}

/// Writes `arguments` to standard error like [`warn`], and ends the process with
/// `SIGABRT`, without unwinding and without running exit handlers.
#[cold]
pub(crate) fn abort_with(arguments: fmt::Arguments<'_>) -> ! {
    warn(arguments);
    // SAFETY: `abort` takes nothing, may be called in any state, and does not return.
    unsafe { libc::abort() }
}

/// Writes `text`, of any length, to standard error.
pub(crate) fn write(text: &str) {
    let _errno = ErrnoKept::new();
    write_all(libc::STDERR_FILENO, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use super::{LINE_CAPACITY_BYTES, Line, TEXT_CAPACITY_BYTES, write_all};

    fn finished(pieces: &[&str]) -> String {
        let mut line = Line::new();
        for piece in pieces {
            assert!(line.write_str(piece).is_ok());
        }
        String::from_utf8(line.finish().to_vec()).expect("the line is not UTF-8")
    }

    #[test]
    fn a_line_holds_what_is_formatted_into_it() {
        let mut line = Line::new();
        write!(line, "a-{:#x}-{:>5}", 255, 7).expect("a line never fails");
        assert_eq!(line.finish(), b"a-0xff-    7\n");
        assert_eq!(finished(&[]), "\n");
    }

    #[test]
    fn a_full_line_is_not_cut() {
        let text = "x".repeat(TEXT_CAPACITY_BYTES);
        assert_eq!(finished(&[&text, ""]), format!("{text}\n"));
    }

    #[test]
    fn a_long_line_is_cut_and_marked() {
        let text = "x".repeat(TEXT_CAPACITY_BYTES);
        let whole = finished(&[&text, "y", "z"]);
        assert_eq!(whole, format!("{text}...\n"));
        assert_eq!(whole.len(), LINE_CAPACITY_BYTES);
        assert_eq!(finished(&[&"x".repeat(100_000)]), whole);
    }

    #[test]
    fn a_cut_never_splits_a_character_and_hides_what_follows() {
        let text = "x".repeat(TEXT_CAPACITY_BYTES - 1);
        assert_eq!(finished(&[&text, "é", "y"]), format!("{text}...\n"));
    }

    #[test]
    fn all_bytes_are_written_and_errors_are_ignored() {
        let (mut reader, writer) = std::io::pipe().expect("cannot make a pipe");
        write_all(writer.as_raw_fd(), b"one\n");
        write_all(writer.as_raw_fd(), b"");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("cannot read");
        assert_eq!(read, "one\n");
        write_all(-1, b"nowhere");
    }
}
