//! The rows of the table: one allocator with one setting each.

use std::ffi::OsStr;
use std::process::Command;

use clap::ValueEnum;

use crate::allocator::{ALLOCATOR_VARIABLE, CAPMALLOC};

/// One allocator with one cap on its arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// glibc as it comes: up to eight arenas for each core
    #[value(name = "glibc")]
    Glibc,
    /// glibc with MALLOC_ARENA_MAX=2
    #[value(name = "glibc-2")]
    GlibcTwo,
    /// glibc with MALLOC_ARENA_MAX=1
    #[value(name = "glibc-1")]
    GlibcOne,
    /// capmalloc as it comes
    #[value(name = "capmalloc")]
    Capmalloc,
    /// capmalloc with CAPMALLOC_ARENA_MAX=4
    #[value(name = "capmalloc-4")]
    CapmallocFour,
    /// capmalloc with CAPMALLOC_ARENA_MAX=2
    #[value(name = "capmalloc-2")]
    CapmallocTwo,
    /// capmalloc with CAPMALLOC_ARENA_MAX=1
    #[value(name = "capmalloc-1")]
    CapmallocOne,
}

/// What every other row is compared with.
pub(crate) const BASELINE: Row = Row::Glibc;

const GLIBC_CAP: &str = "MALLOC_ARENA_MAX";
const CAPMALLOC_CAP: &str = "CAPMALLOC_ARENA_MAX";

impl Row {
    /// The name in the table and in `--rows`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::GlibcTwo => "glibc-2",
            Self::GlibcOne => "glibc-1",
            Self::Capmalloc => "capmalloc",
            Self::CapmallocFour => "capmalloc-4",
            Self::CapmallocTwo => "capmalloc-2",
            Self::CapmallocOne => "capmalloc-1",
        }
    }

    /// The variables that make a server use this row's allocator and cap.
    fn environment(self) -> &'static [(&'static str, &'static str)] {
        const USE_CAPMALLOC: (&str, &str) = (ALLOCATOR_VARIABLE, CAPMALLOC);
        match self {
            Self::Glibc => &[],
            Self::GlibcTwo => &[(GLIBC_CAP, "2")],
            Self::GlibcOne => &[(GLIBC_CAP, "1")],
            Self::Capmalloc => &[USE_CAPMALLOC],
            Self::CapmallocFour => &[USE_CAPMALLOC, (CAPMALLOC_CAP, "4")],
            Self::CapmallocTwo => &[USE_CAPMALLOC, (CAPMALLOC_CAP, "2")],
            Self::CapmallocOne => &[USE_CAPMALLOC, (CAPMALLOC_CAP, "1")],
        }
    }

    /// Gives a server exactly this row's setting, whatever the caller's environment holds.
    pub(crate) fn configure(self, command: &mut Command) {
        remove_allocator_settings(command);
        command.envs(self.environment().iter().copied());
    }
}

/// Keeps settings in the caller's environment, which would make a row something other than its
/// name says, from a child process.
pub(crate) fn remove_allocator_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if sets_an_allocator(&name) {
            command.env_remove(name);
        }
    }
}

fn sets_an_allocator(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("MALLOC_")
        || name.starts_with("CAPMALLOC_")
        || matches!(&*name, "GLIBC_TUNABLES" | "LD_PRELOAD" | ALLOCATOR_VARIABLE)
}
