//! What is supervised: an instance of a module, its footprint, and its restart.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A slot that the host runs an instance in. It stays the same over restarts.
///
/// The host chooses the number; no two instances of a fleet may share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// The name of what instances have in common: the program, so the memory that they need.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModuleName(Arc<str>);

impl ModuleName {
    /// A name; cloning it is cheap.
    #[must_use]
    pub fn new(name: &str) -> ModuleName {
        ModuleName(Arc::from(name))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ModuleName {
    fn from(name: &str) -> ModuleName {
        ModuleName::new(name)
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for ModuleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What an instance holds at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct Footprint {
    /// Bytes of resident memory that a restart would give back.
    pub resident_bytes: u64,
}

impl Footprint {
    /// A footprint of so many bytes of resident memory.
    #[must_use]
    pub const fn resident(resident_bytes: u64) -> Footprint {
        Footprint { resident_bytes }
    }
}

/// Why there is no footprint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum SampleError {
    /// The instance did not answer in time. Several in a row make it count as hung.
    Unresponsive,
    /// There is no such instance any more.
    Gone,
    /// It has ended by itself and does no more work, for this reason. Nothing is lost by a restart,
    /// so it is restarted also where no other instance of its module is healthy.
    Stopped(String),
    /// It answered with what is no footprint; counts as no answer.
    Failed(String),
}

impl fmt::Display for SampleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SampleError::Unresponsive => formatter.write_str("the instance did not answer in time"),
            SampleError::Gone => formatter.write_str("the instance is gone"),
            SampleError::Stopped(why) => write!(formatter, "the instance has stopped: {why}"),
            SampleError::Failed(why) => write!(formatter, "no footprint: {why}"),
        }
    }
}

impl std::error::Error for SampleError {}

/// Why a restart did not happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum RestartError {
    /// Somebody uses the instance and did not let go of it in time.
    Busy,
    /// There is no such instance any more.
    Gone,
    /// It was tried, and failed; the instance may run on as it was.
    Failed(String),
}

impl fmt::Display for RestartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartError::Busy => formatter.write_str("the instance is in use and was not let go"),
            RestartError::Gone => formatter.write_str("the instance is gone"),
            RestartError::Failed(why) => write!(formatter, "the restart failed: {why}"),
        }
    }
}

impl std::error::Error for RestartError {}

/// Something that runs, holds memory, and can be restarted to be rid of it.
///
/// Both [`footprint`](Self::footprint) and [`restart`](Self::restart) must return promptly: one that
/// talks to another process has its own timeout. The supervisor calls them one after another.
pub trait Instance {
    /// The slot that the instance runs in.
    fn id(&self) -> InstanceId;

    /// What it is an instance of.
    fn module(&self) -> &ModuleName;

    /// Rises with each restart, whoever ordered it. It may start anywhere.
    ///
    /// It must be right without a footprint having been asked for: a restart is ordered only where
    /// the incarnation is still the one that was judged.
    fn incarnation(&self) -> u64;

    /// What the instance holds now.
    ///
    /// # Errors
    ///
    /// [`SampleError::Unresponsive`] where the instance does not answer within a time of its own,
    /// [`SampleError::Gone`] where it exists no longer.
    fn footprint(&self) -> Result<Footprint, SampleError>;

    /// Restarts the instance, or begins to.
    ///
    /// It may return before the restart has ended, which is when a footprint was taken of a higher
    /// [`incarnation`](Self::incarnation). One that has not ended in time counts as failed.
    ///
    /// # Errors
    ///
    /// Where the restart could not be begun, or is known to have failed.
    fn restart(&self) -> Result<(), RestartError>;
}
