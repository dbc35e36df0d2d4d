//! What can be wrong with a trace.

use std::fmt;
use std::io;

use super::event::EventProblem;

/// Why a trace can't be read, written or replayed.
#[derive(Debug)]
pub enum TraceError {
    /// The operating system refused something.
    System {
        /// What was tried.
        what: String,
        /// What it said.
        error: io::Error,
    },
    /// The file does not begin as a trace does.
    NotATrace,
    /// The trace is of a version that this program doesn't know.
    Version(u16),
    /// The file ends before the trace does.
    Truncated,
    /// The file is not what was written.
    Damaged(&'static str),
    /// The events contradict each other or ask for what can't be.
    Event {
        /// The event's place in the trace, counted from zero.
        index: usize,
        /// What is wrong with it.
        problem: EventProblem,
    },
    /// The recorder's file is not what a recorder writes.
    Recording {
        /// The slot's place in the file, counted from zero.
        slot: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The allocator gave no memory.
    Refused {
        /// How many bytes were asked for.
        size_bytes: usize,
    },
}

impl TraceError {
    /// An error of the operating system, with what was tried.
    pub(super) fn system(what: impl Into<String>, error: io::Error) -> Self {
        Self::System { what: what.into(), error }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { what, error } => write!(formatter, "{what}: {error}"),
            Self::NotATrace => write!(formatter, "this is not a trace"),
            Self::Version(version) => write!(
                formatter,
                "a trace of version {version}, and this program reads version {}",
                super::format::VERSION
            ),
            Self::Truncated => write!(formatter, "the file ends before the trace does"),
            Self::Damaged(what) => write!(formatter, "the file is damaged: {what}"),
            Self::Event { index, problem } => write!(formatter, "event {index}: {problem}"),
            Self::Recording { slot, problem } => {
                write!(formatter, "slot {slot} of the recording: {problem}")
            }
            Self::Refused { size_bytes } => {
                write!(formatter, "the allocator refused {size_bytes} bytes")
            }
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
