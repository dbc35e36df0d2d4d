//! Paths, whole files and lines, with the sizes that just fit and just do not.

use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{File, Lines, Path, TEXT_CAPACITY_BYTES, last_error};

/// A file name that no other test uses; what is there is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("capmalloc-file-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn with(text: &[u8]) -> Self {
        let scratch = Self::new();
        std::fs::write(&scratch.0, text).expect("cannot write");
        scratch
    }

    fn open(&self) -> File {
        File::open(&path(self.0.as_os_str().as_bytes())).expect("cannot open")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn path(text: &[u8]) -> Path {
    let mut path = Path::new();
    path.push(text).expect("the path is too long");
    path
}

fn collect<const CAPACITY: usize>(file: File) -> Vec<String> {
    let mut lines = Lines::<CAPACITY>::new(file);
    let mut collected = Vec::new();
    while let Some(line) = lines.next() {
        collected.push(String::from_utf8_lossy(line).into_owned());
    }
    assert!(lines.next().is_none(), "there are lines after the last one");
    collected
}

fn lines_of<const CAPACITY: usize>(text: &str) -> Vec<String> {
    collect::<CAPACITY>(Scratch::with(text.as_bytes()).open())
}

#[test]
fn a_path_grows_and_shrinks() {
    let mut path = path(b"/sys");
    assert!(path.push(b"/a").is_some());
    assert!(path.push(b"/b").is_some());
    assert_eq!(path.as_c_str(), Some(c"/sys/a/b"));
    assert!(path.ascend(4));
    assert_eq!(path.as_c_str(), Some(c"/sys/a"));
    path.truncate(100);
    assert_eq!(path.as_bytes(), b"/sys/a");
    assert!(path.ascend(4));
    assert!(!path.ascend(4));
    assert_eq!(path.as_c_str(), Some(c"/sys"));
    assert!(!path.ascend(100));
}

#[test]
fn a_path_that_is_too_long_is_refused_whole() {
    let mut path = Path::new();
    assert!(path.push(&[b'a'; TEXT_CAPACITY_BYTES]).is_none());
    assert_eq!(path.as_c_str(), Some(c""));
    assert!(path.push(&[b'a'; TEXT_CAPACITY_BYTES - 1]).is_some());
    assert!(path.push(b"").is_some());
    assert!(path.push(b"b").is_none());
    assert_eq!(path.as_bytes(), [b'a'; TEXT_CAPACITY_BYTES - 1]);
    assert!(path.as_c_str().is_some());
}

#[test]
fn a_path_with_a_zero_byte_opens_nothing() {
    assert!(File::open(&path(b"/proc/self/status\0/x")).is_none());
    assert!(File::open(&path(b"/no/such/file")).is_none());
    assert!(File::open(&Path::new()).is_none());
}

#[test]
fn a_whole_file_is_read_when_it_fits() {
    let scratch = Scratch::with(b"12345");
    let read = |buffer: &mut [u8]| scratch.open().read_all(buffer).map(<[u8]>::to_vec);
    assert_eq!(read(&mut [0; 6]).as_deref(), Some(&b"12345"[..]));
    assert_eq!(read(&mut [0; 5]), None);
    assert_eq!(read(&mut []), None);
    assert_eq!(Scratch::with(b"").open().read_all(&mut [0; 1]), Some(&[][..]));
    // Directories can be opened but not read.
    assert_eq!(File::open(&path(b"/")).expect("no root").read_all(&mut [0; 9]), None);
}

#[test]
fn lines_are_what_lies_between_newlines() {
    assert_eq!(lines_of::<8>(""), [""; 0]);
    assert_eq!(lines_of::<8>("\n"), [""]);
    assert_eq!(lines_of::<8>("ab\n\ncd"), ["ab", "", "cd"]);
    assert_eq!(lines_of::<8>("abc\ndefg\nhijklmn\no\n"), ["abc", "defg", "hijklmn", "o"]);
}

#[test]
fn lines_that_do_not_fit_are_left_out() {
    assert_eq!(lines_of::<4>("abc\nabcd\nx\n"), ["abc", "x"]);
    assert_eq!(lines_of::<4>("abcdefghijklmnop\nx"), ["x"]);
    assert_eq!(lines_of::<4>("a\nabcdefgh\n\nabcdefghi\nb\n"), ["a", "", "b"]);
    assert_eq!(lines_of::<4>("a\nabcdefgh"), ["a"]);
    assert_eq!(lines_of::<4>("a\nabcd"), ["a"]);
    assert_eq!(lines_of::<0>("a\nabcd"), [""; 0]);
}

#[test]
fn lines_agree_with_the_standard_library() {
    let mut state = 1_u64;
    for _ in 0..200 {
        let mut text = String::new();
        for _ in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push(if (state >> 60) < 3 { '\n' } else { 'a' });
        }
        let expected: Vec<&str> = text.lines().filter(|line| line.len() < 7).collect();
        assert_eq!(lines_of::<7>(&text), expected, "{text:?}");
    }
}

#[test]
fn short_reads_do_not_split_lines() {
    let scratch = Scratch::new();
    let name = CString::new(scratch.0.as_os_str().as_bytes()).expect("no zero byte");
    // SAFETY: the name is a terminated string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut fifo = std::fs::File::create(&scratch.0).expect("cannot open");
            for piece in [b"on", b"e\n", b"tw", b"o\n", b"\nx"] {
                fifo.write_all(piece).expect("cannot write");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        assert_eq!(collect::<16>(scratch.open()), ["one", "two", "", "x"]);
    });
}

#[test]
fn an_error_ends_the_lines() {
    let directory = File::open(&path(b"/")).expect("no root");
    assert_eq!(collect::<16>(directory), [""; 0]);
}

#[test]
fn the_last_error_says_what_went_wrong() {
    assert!(File::open(&path(b"/no/such/file")).is_none());
    assert_eq!(last_error(), libc::ENOENT);
    assert!(File::open(&path(b"/proc/self/status/x")).is_none());
    assert_eq!(last_error(), libc::ENOTDIR);
}
