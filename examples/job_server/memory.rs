//! What the kernel says about the memory and the processor time of a process.

use std::fs;
use std::io;

/// The resident memory of another process, from its files under `/proc`.
#[derive(Debug)]
pub(crate) struct ProcessMemory {
    statm_path: String,
    status_path: String,
    page_bytes: f64,
}

impl ProcessMemory {
    pub(crate) fn of(process: u32) -> Self {
        // SAFETY: `sysconf` takes a number and returns one; it has no other effect.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Self {
            statm_path: format!("/proc/{process}/statm"),
            status_path: format!("/proc/{process}/status"),
            page_bytes: page_bytes as f64,
        }
    }

    /// What is resident now: the second number of `statm`, in pages.
    pub(crate) fn resident_bytes(&self) -> io::Result<f64> {
        let statm = fs::read_to_string(&self.statm_path)?;
        let pages = statm.split(' ').nth(1).and_then(parse_number);
        pages.map(|pages| pages * self.page_bytes).ok_or_else(|| malformed(&self.statm_path))
    }

    /// The most that ever was resident: `VmHWM` of `status`, in units of 1024 bytes.
    pub(crate) fn peak_resident_bytes(&self) -> io::Result<f64> {
        let status = fs::read_to_string(&self.status_path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| parse_number(line.trim_end_matches("kB")));
        kibibytes.map(|kibibytes| kibibytes * 1024.0).ok_or_else(|| malformed(&self.status_path))
    }
}

fn parse_number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

fn malformed(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot understand {path}"))
}

/// What this process has used since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) processor_micros: f64,
    /// Pages that the kernel gave to the process without reading them from a disk.
    pub(crate) minor_faults: f64,
}

impl Usage {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            processor_micros: self.processor_micros - earlier.processor_micros,
            minor_faults: self.minor_faults - earlier.minor_faults,
        }
    }
}

pub(crate) fn usage() -> Usage {
    // SAFETY: `rusage` is a plain C structure of integers, for which all bits zero is a valid value.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: The pointer is to a whole `rusage` of our own, which the call may overwrite. It cannot
    // fail, as `RUSAGE_SELF` is a valid choice and the pointer is good.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut used) };
    let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    Usage {
        processor_micros: micros(used.ru_utime) + micros(used.ru_stime),
        minor_faults: used.ru_minflt as f64,
    }
}
