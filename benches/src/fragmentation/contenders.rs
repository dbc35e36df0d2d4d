//! The allocators under comparison, with the settings that each is run under.

use crate::peers::PeerId;

/// What is done when a load is over, before memory is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtRest {
    /// Nothing, for two seconds: the allocator may do what it does by itself.
    Wait,
    /// `capmalloc::trim` is called once, and memory measured at once.
    Trim,
}

/// A peer under certain settings.
#[derive(Debug)]
pub(super) struct Contender {
    /// The name printed and accepted from the command line.
    pub(super) name: &'static str,
    pub(super) peer: PeerId,
    /// Variables set in its processes.
    pub(super) settings: &'static [(&'static str, &'static str)],
    pub(super) at_rest: AtRest,
}

/// Settings of allocators that a shell may have, and that no process of the bench is to inherit.
pub(super) const FOREIGN_SETTINGS: &[&str] = &["MALLOC_", "CAPMALLOC_", "MIMALLOC_", "GLIBC_TUN"];

const fn plain(name: &'static str, peer: PeerId) -> Contender {
    Contender { name, peer, settings: &[], at_rest: AtRest::Wait }
}

/// Every contender, in the order of the table; ratios are to the first.
pub(super) static CONTENDERS: &[Contender] = &[
    plain("system", PeerId::Glibc),
    Contender { settings: &[("MALLOC_ARENA_MAX", "1")], ..plain("system_1_arena", PeerId::Glibc) },
    plain("jemalloc", PeerId::Jemalloc),
    plain("mimalloc", PeerId::Mimalloc),
    plain("capmalloc", PeerId::Capmalloc),
    Contender {
        settings: &[("CAPMALLOC_BACKGROUND", "1")],
        ..plain("capmalloc_background", PeerId::Capmalloc)
    },
    Contender { at_rest: AtRest::Trim, ..plain("capmalloc_trim", PeerId::Capmalloc) },
];

impl Contender {
    pub(super) fn from_name(name: &str) -> Result<&'static Self, String> {
        CONTENDERS.iter().find(|contender| contender.name == name).ok_or_else(|| {
            let names: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
            format!("there is no allocator {name:?}; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_only_capmalloc_is_trimmed() {
        for contender in CONTENDERS {
            let found = Contender::from_name(contender.name).expect("it is there");
            assert!(std::ptr::eq(found, contender), "{} is there twice", contender.name);
            let is_ours = contender.peer == PeerId::Capmalloc;
            assert!(is_ours || contender.at_rest == AtRest::Wait, "{}", contender.name);
        }
    }
}
