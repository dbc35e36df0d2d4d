//! The floor: everything that asks something of the operating system, and nothing else.
//!
//! A port is a new set of these files; nothing above them names a system call.

pub(crate) mod affinity;
mod cgroup;
pub(crate) mod clock;
pub(crate) mod cpus;
pub(crate) mod environment;
mod errno;
mod file;
pub(crate) mod futex;
pub(crate) mod membarrier;
pub(crate) mod message;
mod pages;
pub(crate) mod restartable;
mod text;
pub(crate) mod thread;

pub(crate) use errno::ErrnoKept;
pub use pages::OsPages;
