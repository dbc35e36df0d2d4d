//! A contender in the user's own words: an allocator under the settings that a service runs with.

use super::{Contender, FOREIGN_SETTINGS, allocator, peer_named};
use crate::peers::PeerId;

/// Divides the name from what it stands for.
const DIVIDER: char = ':';

impl Contender {
    /// Reads `NAME: ALLOCATOR VARIABLE=VALUE ...`.
    ///
    /// A variable that the allocator does not read is refused: it would look as if it made no
    /// difference.
    pub(in super::super) fn described(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form NAME: ALLOCATOR VARIABLE=VALUE ...");
        let (name, meaning) = text.split_once(DIVIDER).ok_or_else(wrong)?;
        let name = name.trim();
        let mut words = meaning.split_whitespace();
        let base = words.next().filter(|_| !name.is_empty()).ok_or_else(wrong)?;
        let peer = peer_named(base).ok_or_else(|| match Self::from_name(base) {
            Ok(_) => format!("{base:?} has settings of its own; name the allocator alone"),
            Err(message) => message,
        })?;
        if Self::from_name(name).is_ok() {
            return Err(format!(
                "{name:?} is the name of another contender; choose one for {text:?}"
            ));
        }
        let described = words.map(|word| setting(peer, word)).collect::<Result<Vec<_>, _>>()?;
        if described.is_empty() {
            return Err(format!("{text:?} sets no variable, so it is {base}"));
        }
        for (index, (variable, _)) in described.iter().enumerate() {
            if described[..index].iter().any(|(other, _)| other == variable) {
                return Err(format!("{text:?} sets {variable} twice"));
            }
        }
        Ok(Self { name: name.to_string(), described, ..Self::plain(peer) })
    }

    /// What `described` or `from_name` reads as this contender.
    pub(in super::super) fn description(&self) -> String {
        if self.described.is_empty() {
            return self.name.clone();
        }
        let settings = self.described.iter().map(|(name, value)| format!(" {name}={value}"));
        format!("{}{DIVIDER} {}{}", self.name, self.allocator(), settings.collect::<String>())
    }

    /// Reads what `description` wrote.
    pub(in super::super) fn from_description(text: &str) -> Result<Self, String> {
        if text.contains(DIVIDER) { Self::described(text) } else { Self::from_name(text) }
    }
}

fn setting(peer: PeerId, word: &str) -> Result<(String, String), String> {
    let (variable, value) = word
        .split_once('=')
        .ok_or_else(|| format!("{word:?} is not of the form VARIABLE=VALUE"))?;
    let starts = starts(peer);
    if starts.is_empty() {
        return Err(format!("{} reads no variables", allocator(peer)));
    }
    if !starts.iter().any(|start| variable.starts_with(start)) {
        let starts = starts.join(" or ");
        let name = allocator(peer);
        return Err(format!(
            "{name} reads variables that begin with {starts}, and not {variable:?}"
        ));
    }
    Ok((variable.to_string(), value.to_string()))
}

/// How the variables that a peer reads begin, as its crate builds it.
fn starts(peer: PeerId) -> Vec<&'static str> {
    let is_read = |start: &str| match allocator(peer) {
        "glibc" => start.starts_with("MALLOC_") || start.starts_with("GLIBC_"),
        "jemalloc" => start == "_RJEM_",
        "mimalloc" => start == "MIMALLOC_",
        "tcmalloc" => start == "TCMALLOC_",
        "capmalloc" => start == "CAPMALLOC_",
        _ => false,
    };
    FOREIGN_SETTINGS.iter().copied().filter(|start| is_read(start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNED: &str = "tuned: jemalloc _RJEM_MALLOC_CONF=dirty_decay_ms:0,narenas:2";

    #[test]
    fn a_description_is_read_as_it_was_written() {
        let tuned = Contender::described(TUNED).expect(TUNED);
        assert_eq!((tuned.name.as_str(), tuned.allocator()), ("tuned", "jemalloc"));
        let value = "dirty_decay_ms:0,narenas:2".to_string();
        assert_eq!(tuned.settings(), [("_RJEM_MALLOC_CONF".to_string(), value)]);
        assert!(!tuned.is_default());
        assert_eq!(tuned.description(), TUNED);
        for contender in Contender::all(None).into_iter().chain([tuned]) {
            let text = contender.description();
            assert_eq!(Contender::from_description(&text), Ok(contender), "{text}");
        }
    }

    #[test]
    fn every_variable_that_is_kept_from_the_processes_is_some_allocators() {
        let all: Vec<_> = PeerId::ALL.iter().flat_map(|&peer| starts(peer)).collect();
        let kept = FOREIGN_SETTINGS.iter().filter(|&&start| start != "TCMALLOC_");
        assert!(kept.clone().all(|start| all.contains(start)), "{all:?}");
        assert!(kept.count() > 4);
    }

    #[test]
    fn what_would_be_without_effect_is_refused() {
        for (text, part) in [
            ("capmalloc CAPMALLOC_ARENA_MAX=1", "not of the form NAME: ALLOCATOR"),
            (": glibc MALLOC_ARENA_MAX=1", "not of the form NAME: ALLOCATOR"),
            ("x:", "not of the form NAME: ALLOCATOR"),
            ("x: malloc A=1", "no allocator \"malloc\""),
            ("x: glibc-1 MALLOC_TOP_PAD_=0", "name the allocator alone"),
            ("glibc: glibc MALLOC_TOP_PAD_=0", "the name of another contender"),
            ("x: glibc", "sets no variable, so it is glibc"),
            ("x: glibc MALLOC_TOP_PAD_", "not of the form VARIABLE=VALUE"),
            ("x: glibc MALLOC_TOP_PAD_=0 MALLOC_TOP_PAD_=1", "sets MALLOC_TOP_PAD_ twice"),
            ("x: jemalloc MALLOC_CONF=narenas:1", "begin with _RJEM_, and not \"MALLOC_CONF\""),
            ("x: capmalloc MALLOC_ARENA_MAX=1", "begin with CAPMALLOC_, and not"),
        ] {
            let message = Contender::described(text).expect_err(text);
            assert!(message.contains(part), "{text:?} gave {message:?}");
        }
    }
}
