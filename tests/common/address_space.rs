//! How much address space this process may have, so that tests can ask for less where it is short.

/// The limit on this process's address space in bytes, as `ulimit -v` sets it.
pub(crate) fn limit_bytes() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is this function's own and is written whole.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    assert_eq!(status, 0, "the limit can be read");
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur as usize)
}

/// `wanted_bytes`, or the part of a limited address space that one block may take; says which.
pub(crate) fn scaled_bytes(wanted_bytes: usize) -> usize {
    match limit_bytes() {
        Some(limit_bytes) if limit_bytes / 4 < wanted_bytes => {
            let scaled_bytes = limit_bytes / 4;
            println!(
                "\nnote: {scaled_bytes} bytes instead of {wanted_bytes}, by the limit on addresses"
            );
            scaled_bytes
        }
        _ => wanted_bytes,
    }
}

/// Bytes of address space that this process has now.
pub(crate) fn used_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the kernel tells its size");
    let pages = text.split(' ').next().and_then(|pages| pages.parse::<usize>().ok());
    // SAFETY: sysconf has no preconditions.
    pages.expect("a number of pages") * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
}

/// Leaves this process so much address space, or what it has where that is less.
pub(crate) fn limit(bytes: usize) -> std::io::Result<()> {
    let bytes = limit_bytes().map_or(bytes, |limit_bytes| limit_bytes.min(bytes)) as u64;
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit is a valid one, no higher than the one before.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
