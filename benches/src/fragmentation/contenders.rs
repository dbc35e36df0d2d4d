//! The allocators under comparison, with the settings that each is run under.

mod described;

use crate::peers::PeerId;

/// capmalloc's and glibc's caps on arenas, which are shown beside the default ones unless others
/// are asked for.
pub(super) const DEFAULT_CAPMALLOC_CAPS: &[u32] = &[1, 4];
const DEFAULT_GLIBC_CAPS: &[u32] = &[1];

/// Every cap that a run of all contenders has.
const ALL_CAPMALLOC_CAPS: &[u32] = &[1, 2, 4, 8];
const ALL_GLIBC_CAPS: &[u32] = &[1, 2, 4];

/// capmalloc takes no cap beyond.
const CAP_MAX: u32 = 1024;

const BACKGROUND: &str = "-background";

/// Settings of allocators that a shell may have, and that no process of the bench is to inherit.
pub(super) const FOREIGN_SETTINGS: &[&str] =
    &["MALLOC_", "_RJEM_", "CAPMALLOC_", "MIMALLOC_", "TCMALLOC_", "GLIBC_TUN"];

/// A peer under certain settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    /// The name printed and accepted from the command line.
    pub(super) name: String,
    pub(super) peer: PeerId,
    /// How many arenas it may have, where that is set.
    pub(super) arena_max: Option<u32>,
    /// Whether capmalloc's thread that gives memory back runs.
    pub(super) is_background: bool,
    /// Variables that the command line gave it, each with its value.
    given: Vec<(String, String)>,
}

impl Contender {
    fn plain(peer: PeerId) -> Self {
        let name = allocator(peer).to_string();
        Self { name, peer, arena_max: None, is_background: false, given: Vec::new() }
    }

    pub(super) fn capped(peer: PeerId, cap: u32) -> Self {
        let name = format!("{}-{cap}", allocator(peer));
        Self { name, arena_max: Some(cap), ..Self::plain(peer) }
    }

    fn background() -> Self {
        let name = format!("capmalloc{BACKGROUND}");
        Self { name, is_background: true, ..Self::plain(PeerId::Capmalloc) }
    }

    /// The allocator without its settings.
    pub(super) fn allocator(&self) -> &'static str {
        allocator(self.peer)
    }

    /// Whether a user who sets nothing has this.
    pub(super) fn is_default(&self) -> bool {
        self.arena_max.is_none() && !self.is_background && self.given.is_empty()
    }

    /// The variables that the command line gave it, with their values.
    pub(super) fn given(&self) -> impl Iterator<Item = String> {
        self.given.iter().map(|(name, value)| format!("{name}={value}"))
    }

    /// The variables that its processes have.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.given.clone();
        if let Some(cap) = self.arena_max {
            let name = match self.peer {
                PeerId::Capmalloc => "CAPMALLOC_ARENA_MAX",
                _ => "MALLOC_ARENA_MAX",
            };
            settings.push((name.to_string(), cap.to_string()));
        }
        if self.is_background {
            settings.push(("CAPMALLOC_BACKGROUND".to_string(), "1".to_string()));
        }
        settings
    }

    /// A peer's name; `glibc` and `capmalloc` may have a cap behind a dash, `capmalloc` also
    /// `background`.
    pub(super) fn from_name(name: &str) -> Result<Self, String> {
        if let Some(peer) = peer_named(name) {
            return Ok(Self::plain(peer));
        }
        if name == Self::background().name {
            return Ok(Self::background());
        }
        let unknown = || {
            let names: Vec<&str> = PeerId::ALL.iter().copied().map(allocator).collect();
            format!(
                "there is no allocator {name:?}; there are {}, glibc-N and capmalloc-N with a cap \
                 of N arenas, capmalloc{BACKGROUND}, and all",
                names.join(", ")
            )
        };
        let (base, cap) = name.rsplit_once('-').ok_or_else(unknown)?;
        match peer_named(base).ok_or_else(unknown)? {
            peer @ (PeerId::Glibc | PeerId::Capmalloc) => Ok(Self::capped(peer, parse_cap(cap)?)),
            _ => Err(unknown()),
        }
    }

    /// Those that answer which allocator is best for whom, in the order of the tables.
    pub(super) fn defaults(capmalloc_caps: &[u32]) -> Vec<Self> {
        Self::with_caps(DEFAULT_GLIBC_CAPS, capmalloc_caps)
    }

    /// Those that there are.
    pub(super) fn all(capmalloc_caps: Option<&[u32]>) -> Vec<Self> {
        Self::with_caps(ALL_GLIBC_CAPS, capmalloc_caps.unwrap_or(ALL_CAPMALLOC_CAPS))
    }

    fn with_caps(glibc_caps: &[u32], capmalloc_caps: &[u32]) -> Vec<Self> {
        let of_peer = |&peer: &PeerId| {
            let caps = match peer {
                PeerId::Glibc => glibc_caps,
                PeerId::Capmalloc => capmalloc_caps,
                _ => &[],
            };
            let capped = caps.iter().map(move |&cap| Self::capped(peer, cap));
            let background = (peer == PeerId::Capmalloc).then(Self::background);
            std::iter::once(Self::plain(peer)).chain(capped).chain(background)
        };
        PeerId::ALL.iter().flat_map(of_peer).collect()
    }
}

/// The name of a peer in this bench, where glibc is one of several settings of it.
fn allocator(peer: PeerId) -> &'static str {
    if peer == PeerId::Glibc { "glibc" } else { peer.name() }
}

fn peer_named(name: &str) -> Option<PeerId> {
    PeerId::ALL.iter().copied().find(|&peer| allocator(peer) == name)
}

/// A number of arenas.
pub(super) fn parse_cap(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(cap) if (1..=CAP_MAX).contains(&cap) => Ok(cap),
        _ => Err(format!("{value:?} is not a number of arenas from 1 to {CAP_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        let all = Contender::all(None);
        for contender in &all {
            assert_eq!(Contender::from_name(&contender.name).as_ref(), Ok(contender));
            let same = all.iter().filter(|other| other.name == contender.name);
            assert_eq!(same.count(), 1, "{}", contender.name);
        }
        let defaults = Contender::defaults(DEFAULT_CAPMALLOC_CAPS);
        assert!(defaults.iter().all(|contender| all.contains(contender)));
        for &peer in PeerId::ALL {
            assert!(defaults.iter().any(|one| one.peer == peer && one.is_default()), "{peer:?}");
        }
    }

    #[test]
    fn settings_are_those_of_the_name() {
        let settings = |name| Contender::from_name(name).map(|one| one.settings()).expect(name);
        let one = |name: &str, value: &str| [(name.to_string(), value.to_string())];
        assert_eq!(settings("glibc"), []);
        assert_eq!(settings("glibc-3"), one("MALLOC_ARENA_MAX", "3"));
        assert_eq!(settings("capmalloc-16"), one("CAPMALLOC_ARENA_MAX", "16"));
        assert_eq!(settings("capmalloc-background"), one("CAPMALLOC_BACKGROUND", "1"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (name, part) in [
            ("malloc", "no allocator \"malloc\"; there are glibc"),
            ("mimalloc-2", "no allocator \"mimalloc-2\""),
            ("glibc-0", "\"0\" is not a number of arenas"),
            ("capmalloc-1025", "\"1025\" is not a number of arenas"),
            ("capmalloc-", "\"\" is not a number of arenas"),
        ] {
            let message = Contender::from_name(name).expect_err(name);
            assert!(message.contains(part), "{name:?} gave {message:?}");
        }
    }
}
