//! What the kernel says of this process's threads.

use std::fs;

/// The allocator's own thread.
const BACKGROUND: &str = "capmalloc-decay";

/// The path of the allocator's own thread in `/proc`, if there is one.
pub(crate) fn background() -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("the kernel lists threads");
    let mut paths = tasks.flatten().map(|task| task.path().to_string_lossy().into_owned());
    paths.find(|path| {
        let name = fs::read_to_string(format!("{path}/comm"));
        name.is_ok_and(|name| name.trim() == BACKGROUND)
    })
}

/// How often the thread whose status lies at `path` went to sleep.
///
/// The look takes no memory, so that it does not wake whom it looks at.
pub(crate) fn times_asleep(path: &str) -> usize {
    use std::io::Read as _;
    let mut text = [0; 4096];
    let length = fs::File::open(path).and_then(|mut file| file.read(&mut text));
    let text = std::str::from_utf8(&text[..length.expect("the thread is there")]).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}
