//! Why a linear memory did not get what it asked for.

use std::fmt;

/// A linear memory that was refused, or one that was refused more; sizes are in bytes.
///
/// In a guest's growth this is what made `memory.grow` answer -1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryRefused {
    /// What refused.
    pub by: RefusedBy,
    /// Bytes that the linear memory has; 0 where it was to be made.
    pub held_bytes: usize,
    /// Bytes that it asked for in addition.
    pub asked_bytes: usize,
    /// Address space that the heap had from the operating system.
    pub mapped_bytes: usize,
    /// Resident memory, as the heap counts it.
    pub resident_bytes: usize,
}

/// What refused memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedBy {
    /// The heap's limit on address space.
    AddressSpaceLimit {
        /// What it is set to.
        limit_bytes: usize,
        /// What the heap would have mapped: the memory itself, or a segment to cut it from.
        needed_bytes: usize,
    },
    /// The heap's hard limit on resident memory.
    ResidentHardLimit {
        /// What it is set to.
        limit_bytes: usize,
        /// What would have been counted as resident.
        needed_bytes: usize,
    },
    /// The operating system, or an address space that has no such length.
    OperatingSystem,
}

impl fmt::Display for MemoryRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryRefused { asked_bytes, held_bytes, mapped_bytes, resident_bytes, .. } = self;
        write!(formatter, "a linear memory of {held_bytes} bytes asked for {asked_bytes} more: ")?;
        match self.by {
            RefusedBy::AddressSpaceLimit { limit_bytes, needed_bytes } => write!(
                formatter,
                "the heap's limit on address space is {limit_bytes} bytes, {mapped_bytes} are \
                 mapped, and this needs another {needed_bytes}"
            ),
            RefusedBy::ResidentHardLimit { limit_bytes, needed_bytes } => write!(
                formatter,
                "the heap's hard limit on resident memory is {limit_bytes} bytes, \
                 {resident_bytes} are resident ({mapped_bytes} mapped), and this needs another \
                 {needed_bytes}"
            ),
            RefusedBy::OperatingSystem => write!(
                formatter,
                "the operating system refused it; the heap has {mapped_bytes} bytes mapped and no \
                 limit of its own in the way"
            ),
        }
    }
}

impl std::error::Error for MemoryRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit_what_is_mapped_and_what_was_asked() {
        let mut refusal = MemoryRefused {
            by: RefusedBy::AddressSpaceLimit { limit_bytes: 1001, needed_bytes: 1002 },
            held_bytes: 1003,
            asked_bytes: 1004,
            mapped_bytes: 1005,
            resident_bytes: 1006,
        };
        let text = refusal.to_string();
        for part in ["limit on address space is 1001", "1005 are mapped", "1004 more", "1002"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        refusal.by = RefusedBy::ResidentHardLimit { limit_bytes: 1007, needed_bytes: 1008 };
        let text = refusal.to_string();
        for part in ["hard limit on resident memory is 1007", "1006 are resident", "1008"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        refusal.by = RefusedBy::OperatingSystem;
        assert!(refusal.to_string().contains("operating system refused"));
    }
}
