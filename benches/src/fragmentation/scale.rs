//! How long and how large a load is.

/// How long and how large a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// The size that is measured.
    Full,
    /// About a second for each run: enough to see a trend, too little to judge by.
    Quick,
    /// A size that only shows the load to work.
    Smoke,
}

impl Scale {
    /// What this scale has of three.
    pub(super) fn of<T>(self, full: T, quick: T, smoke: T) -> T {
        match self {
            Scale::Full => full,
            Scale::Quick => quick,
            Scale::Smoke => smoke,
        }
    }
}
