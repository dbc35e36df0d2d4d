//! The process's limit on address space, and what it has of it.

use std::{fs, io};

/// The limit in bytes, if there is one.
pub(crate) fn limit() -> io::Result<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to a structure of this function's.
    match unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } {
        0 => Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Limits this process, and those that it starts, to so many bytes.
///
/// It is one system call, so that it may run between a fork and an exec.
pub(crate) fn set_limit(bytes: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the call reads a structure of this function's.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Says which limit the children have; answers with it if it is this program that has to set it.
pub(crate) fn announce(wanted_bytes: u64) -> io::Result<Option<u64>> {
    match limit()? {
        Some(bytes) => {
            println!("address space is limited to {bytes} bytes (ulimit -v {})", bytes / 1024);
            Ok(None)
        }
        None => {
            println!(
                "address space is not limited: this program limits its children to \
                 {wanted_bytes} bytes (as `ulimit -v {}` would)",
                wanted_bytes / 1024
            );
            Ok(Some(wanted_bytes))
        }
    }
}

/// Bytes that this process has mapped, and those that are resident.
pub(crate) fn used() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let mut pages = text.split_whitespace().map_while(|field| field.parse::<u64>().ok());
    // SAFETY: the call has no conditions.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    match (pages.next(), pages.next()) {
        (Some(mapped), Some(resident)) => Ok((mapped * page_bytes, resident * page_bytes)),
        _ => Err(io::Error::other(format!("/proc/self/statm holds no two numbers: {text}"))),
    }
}
