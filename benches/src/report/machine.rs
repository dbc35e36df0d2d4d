//! What is known of the machine that the bench runs on.

use std::ffi::CStr;
use std::fs::read_to_string;
use std::process::Command;

use super::results::Machine;

/// The manifest of the library that is measured; the version stands in it.
const MANIFEST: &str = include_str!("../../../Cargo.toml");

impl Machine {
    /// Looks at this machine; what cannot be found out is "unknown" or 0.
    pub fn current() -> Self {
        let processor = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let huge_pages = read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpu_model: or_unknown(value_of(&processor, "model name")),
            memory_bytes: value_of(&memory, "MemTotal").and_then(kibibytes).unwrap_or(0) * 1024,
            kernel: or_unknown(read_to_string("/proc/sys/kernel/osrelease").ok()),
            glibc: glibc_version(),
            rustc: or_unknown(output_of(Command::new("rustc").arg("--version"))),
            capmalloc_version: capmalloc_version(),
            thp: or_unknown(huge_pages.ok().as_deref().and_then(chosen)),
        }
    }
}

/// The first value of a key in the kernel's `key: value` lines.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

fn kibibytes(value: &str) -> Option<u64> {
    value.split_whitespace().next()?.parse().ok()
}

/// The word in brackets, which is how the kernel marks the setting in force.
fn chosen(setting: &str) -> Option<&str> {
    setting.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

fn glibc_version() -> String {
    // SAFETY: the function takes nothing and answers a static string that ends with a zero.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

fn capmalloc_version() -> String {
    let version = MANIFEST.lines().find_map(|line| line.strip_prefix("version = "));
    let version = version.unwrap_or("unknown").trim_matches('"');
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    output_of(&mut git).map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn or_unknown(value: Option<impl AsRef<str>>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |text| text.as_ref().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let text = "processor\t: 0\nmodel name\t: A: B\nMemTotal:       24 kB\n";
        assert_eq!(value_of(text, "model name"), Some("A: B"));
        assert_eq!(value_of(text, "MemTotal").and_then(kibibytes), Some(24));
        assert_eq!(value_of(text, "MemFree"), None);
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always madvise never\n"), None);
    }

    #[test]
    fn this_machine_has_processors_memory_and_versions() {
        let machine = Machine::current();
        assert!(machine.cpus > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.glibc.contains('.') && machine.kernel.contains('.'), "{machine:?}");
        assert!(machine.capmalloc_version.starts_with(char::is_numeric), "{machine:?}");
    }
}
