//! Forked children that answer with figures.

use std::io::{Read as _, Write as _};

/// Runs `work` in a fork of this process and answers with its figures.
///
/// The child runs nothing else, with the calling thread alone, and then ends at once.
pub(crate) fn figures_of_fork<const COUNT: usize>(
    work: impl FnOnce() -> [usize; COUNT],
) -> [usize; COUNT] {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: the child runs `work`, which uses the allocator and no lock of the parent's other
    // threads, writes to the pipe, and ends.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "a fork");
    if process == 0 {
        let figures = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let is_told = figures.is_ok_and(|figures| {
            figures.iter().all(|figure| writer.write_all(&figure.to_ne_bytes()).is_ok())
        });
        // SAFETY: ends the child without a look at what belongs to the parent's threads.
        unsafe { libc::_exit(i32::from(!is_told)) };
    }
    drop(writer);
    let figures = core::array::from_fn(|_| {
        let mut bytes = [0; size_of::<usize>()];
        reader.read_exact(&mut bytes).expect("the forked child tells its figures");
        usize::from_ne_bytes(bytes)
    });
    let mut status = 0;
    // SAFETY: waits for the child just made; the place for its status is ours.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    assert_eq!(status, 0, "the forked child's end");
    figures
}
