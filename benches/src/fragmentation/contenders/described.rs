//! A contender in the user's own words: an allocator under the settings that a service runs with.

use super::{Contender, allocator, peer_named};
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
        let given = words.map(|word| setting(peer, word)).collect::<Result<Vec<_>, _>>()?;
        if given.is_empty() {
            return Err(format!("{text:?} sets no variable, so it is {base}"));
        }
        for (index, (variable, _)) in given.iter().enumerate() {
            if given[..index].iter().any(|(other, _)| other == variable) {
                return Err(format!("{text:?} sets {variable} twice"));
            }
        }
        Ok(Self { name: name.to_string(), given, ..Self::plain(peer) })
    }

    /// What `described` or `from_name` reads as this contender.
    pub(in super::super) fn description(&self) -> String {
        if self.given.is_empty() {
            return self.name.clone();
        }
        let settings: Vec<String> = self.given().collect();
        format!("{}{DIVIDER} {} {}", self.name, self.allocator(), settings.join(" "))
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
    let (known, name) = (variables(peer), allocator(peer));
    if known.is_empty() {
        return Err(format!("{name} reads no variables"));
    }
    // A name that ends so is the beginning of many.
    let is_read = |&known: &&str| match known.strip_suffix('*') {
        Some(start) => variable.starts_with(start),
        None => variable == known,
    };
    if !known.iter().any(is_read) {
        return Err(format!("{name} does not read {variable:?}, but {}", known.join(", ")));
    }
    Ok((variable.to_string(), value.to_string()))
}

/// The variables that a peer reads, as its crate builds it.
fn variables(peer: PeerId) -> &'static [&'static str] {
    match allocator(peer) {
        "capmalloc" => OURS,
        // mallopt(3), and the C library's manual on tunables.
        "glibc" => &[
            "MALLOC_ARENA_MAX",
            "MALLOC_ARENA_TEST",
            "MALLOC_MMAP_MAX_",
            "MALLOC_MMAP_THRESHOLD_",
            "MALLOC_PERTURB_",
            "MALLOC_TOP_PAD_",
            "MALLOC_TRIM_THRESHOLD_",
            "GLIBC_TUNABLES",
        ],
        "jemalloc" => &["_RJEM_MALLOC_CONF"],
        "mimalloc" => &["MIMALLOC_*"],
        "tcmalloc" => &["TCMALLOC_*"],
        _ => &[],
    }
}

const OURS: &[&str] = &[
    "CAPMALLOC_ARENA_MAX",
    "MALLOC_ARENA_MAX",
    "CAPMALLOC_ARENA_POLICY",
    "CAPMALLOC_CACHE_BUDGET",
    "CAPMALLOC_CPU_CACHES",
    "CAPMALLOC_DECAY_MS",
    "CAPMALLOC_BACKGROUND",
    "CAPMALLOC_ADDRESS_SPACE_MAX",
    "CAPMALLOC_RESIDENT_SOFT",
    "CAPMALLOC_RESIDENT_HARD",
    "CAPMALLOC_STATS_AT_EXIT",
];

#[cfg(test)]
mod tests {
    use super::super::FOREIGN_SETTINGS;
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
    fn every_variable_of_ours_is_known_and_none_is_inherited() {
        let documented = include_str!("../../../../src/config.rs").split('`');
        let documented: Vec<_> = documented.filter(|word| word.starts_with("CAPMALLOC_")).collect();
        assert!(documented.len() > 9);
        for name in documented {
            assert!(OURS.contains(&name), "{name}");
        }
        for name in PeerId::ALL.iter().flat_map(|&peer| variables(peer)) {
            let is_kept_out = FOREIGN_SETTINGS.iter().any(|start| name.starts_with(start));
            assert!(is_kept_out, "{name}");
        }
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
            ("x: jemalloc MALLOC_CONF=narenas:1", "does not read \"MALLOC_CONF\", but _RJEM_"),
            ("x: capmalloc CAPMALLOC_CACHE_BUGDET=1M", "does not read \"CAPMALLOC_CACHE_BUGDET\""),
            ("x: mimalloc MALLOC_ARENA_MAX=1", "mimalloc does not read"),
        ] {
            let message = Contender::described(text).expect_err(text);
            assert!(message.contains(part), "{text:?} gave {message:?}");
        }
    }
}
