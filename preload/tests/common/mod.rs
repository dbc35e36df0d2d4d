//! C programs, compiled as they are needed and run under the library that was built with the test.

#![allow(dead_code, reason = "each test file needs its own part")]

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The library, and beside it the command, as cargo builds them for tests of this profile.
///
/// Cargo builds a library for its package's tests only where they can link it, which nobody can
/// with one that is for C alone. So the tests build it, which is done already most of the time.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = std::env::current_exe().expect("the test has a path");
    let profile = test.ancestors().nth(2).expect("a directory of a profile above `deps`");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "capmalloc-preload", "--target-dir"]);
    command.arg(profile.parent().expect("a directory of all profiles"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(status.expect("cargo is there").success(), "the library does not compile");
    profile.canonicalize().expect("a path")
});

pub(crate) fn library() -> PathBuf {
    BUILT.join("libcapmalloc.so")
}

/// The command that runs programs with the library.
pub(crate) fn runner() -> PathBuf {
    BUILT.join("capmalloc")
}

/// Compiles `programs/NAME.c`, with these flags besides.
pub(crate) fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    // Several tests and several processes may compile the same at once.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Relaxed);
    let output = directory.join(format!("{name}-{}-{count}", std::process::id()));
    let mut command = Command::new("cc");
    // Without the compiler's knowledge of `malloc`, by which it would leave calls out.
    command.args(["-std=gnu17", "-O1", "-fno-builtin", "-w", "-pthread", "-o"]).arg(&output);
    let status = command.arg(source.with_extension("c")).args(flags).arg("-ldl").status();
    assert!(status.expect("cc is there").success(), "{name} does not compile");
    output
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) complaints: String,
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n{}\n{}", self.status, self.output, self.complaints)
    }
}

impl Ending {
    pub(crate) fn of(mut command: Command) -> Ending {
        let output = command.output().expect("the program starts");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (told, complaints) = (text(&output.stdout), text(&output.stderr));
        Ending { status: output.status, output: told, complaints }
    }

    /// Holds that the program ended well and complained of nothing.
    pub(crate) fn succeeded(self) -> Ending {
        assert!(self.status.success() && self.complaints.is_empty(), "{self}");
        self
    }
}

/// The program under the library, with the settings that the suite was started with.
pub(crate) fn preloaded(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("LD_PRELOAD", library());
    command
}
