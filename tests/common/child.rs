//! A test's body in a process of its own, for figures of a whole heap and for endings.
//!
//! The process is the test binary once more, told to run the calling test alone and, by a variable,
//! that it is the child. libtest runs a test on a thread of its own while the main thread waits, so
//! nothing else allocates meanwhile.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};

/// Set in children, so that the test that started one plays the child's part there.
const CHILD_VARIABLE: &str = "TEST_IS_CHILD";

/// A process that runs the calling test as its child.
#[derive(Debug)]
pub(crate) struct Child {
    command: Command,
}

impl Child {
    /// With the settings that the whole suite was started with.
    pub(crate) fn new() -> Child {
        let test = std::thread::current();
        let test = test.name().expect("libtest names a test's thread after the test");
        let binary = std::env::current_exe().expect("the test binary has a path");
        let mut command = Command::new(binary);
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(CHILD_VARIABLE, "1");
        // The C library's own allocator, which a thread's start uses, would take 64 MiB of
        // addresses for each thread and an unpredictable page or two.
        command.env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1");
        Child { command }
    }

    /// With no settings of the allocator but those given here.
    pub(crate) fn with_settings(settings: &[(&str, &str)]) -> Child {
        let mut child = Child::new();
        let is_setting = |name: &OsString| {
            name == "MALLOC_ARENA_MAX" || name.as_bytes().starts_with(b"CAPMALLOC_")
        };
        for name in std::env::vars_os().map(|(name, _)| name).filter(is_setting) {
            child.command.env_remove(name);
        }
        child.command.envs(settings.iter().copied());
        child
    }

    /// With this setting too, which need not be text.
    pub(crate) fn and(mut self, name: &str, value: impl AsRef<OsStr>) -> Child {
        self.command.env(name, value);
        self
    }

    /// Calls `prepare` in the child before the program is loaded.
    ///
    /// # Safety
    ///
    /// `prepare` may do only what is allowed between a fork and an exec.
    pub(crate) unsafe fn prepared_by(
        mut self,
        prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Child {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.command.pre_exec(prepare) };
        self
    }

    /// Waits for the end, whatever it is.
    pub(crate) fn end(mut self) -> Ending {
        let output = self.command.output().expect("the test binary starts");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (told, complaints) = (text(&output.stdout), text(&output.stderr));
        Ending { status: output.status, told, complaints }
    }

    /// Waits for a good end.
    pub(crate) fn succeed(self) -> Ending {
        let ending = self.end();
        // A name that no test has would run none, and that would pass.
        let has_run = ending.told.contains("1 passed");
        assert!(ending.status.success() && has_run, "{ending}");
        // What was scaled down is told to whoever runs the suite.
        ending.told.lines().filter(|line| line.starts_with("note: ")).for_each(|note| {
            println!("{note}");
        });
        ending
    }
}

/// How a child ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: ExitStatus,
    /// Standard output, which is libtest's too.
    told: String,
    /// Standard error, which is the allocator's alone unless a test fails.
    pub(crate) complaints: String,
}

impl Ending {
    /// What the child told under this name by [`tell`].
    pub(crate) fn value(&self, name: &str) -> &str {
        let mark = format!("{name}=");
        let value = self.told.lines().find_map(|line| line.strip_prefix(&mark));
        value.unwrap_or_else(|| panic!("the child did not tell its {name}: {self}"))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the child: {}\n{}\n{}", self.status, self.told, self.complaints)
    }
}

/// Whether this process was started by a [`Child`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD_VARIABLE).is_some()
}

/// Tells the parent a value, on a line that libtest's own do not begin.
pub(crate) fn tell(name: &str, value: impl fmt::Display) {
    println!("\n{name}={value}");
}
