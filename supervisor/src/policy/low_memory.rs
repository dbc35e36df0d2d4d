//! Wait until the host is short of memory, then restart the likeliest.

use std::cmp::Reverse;

use super::{FleetView, Policy, Reason, Verdict};
use crate::store::Series;

/// The part of the host's memory at which it counts as short, unless told otherwise.
const USED_FRACTION_MAX: f64 = 0.9;

/// Restarts the largest instances when the host is short of memory.
#[derive(Clone, Copy, Debug)]
pub struct LargestOnLowMemory {
    used_fraction_max: f64,
}

/// Restarts the oldest instances when the host is short of memory.
#[derive(Clone, Copy, Debug)]
pub struct OldestOnLowMemory {
    used_fraction_max: f64,
}

impl LargestOnLowMemory {
    /// The host counts as short where more than this part of its memory is used.
    #[must_use]
    pub fn new(used_fraction_max: f64) -> LargestOnLowMemory {
        LargestOnLowMemory { used_fraction_max }
    }
}

impl OldestOnLowMemory {
    /// The host counts as short where more than this part of its memory is used.
    #[must_use]
    pub fn new(used_fraction_max: f64) -> OldestOnLowMemory {
        OldestOnLowMemory { used_fraction_max }
    }
}

impl Default for LargestOnLowMemory {
    /// Short at 90 %.
    fn default() -> LargestOnLowMemory {
        LargestOnLowMemory::new(USED_FRACTION_MAX)
    }
}

impl Default for OldestOnLowMemory {
    /// Short at 90 %.
    fn default() -> OldestOnLowMemory {
        OldestOnLowMemory::new(USED_FRACTION_MAX)
    }
}

impl Policy for LargestOnLowMemory {
    fn name(&self) -> &str {
        "largest on low memory"
    }

    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict> {
        on_low_memory(view, self.used_fraction_max, |series| Reverse(series.level_bytes()))
    }
}

impl Policy for OldestOnLowMemory {
    fn name(&self) -> &str {
        "oldest on low memory"
    }

    fn judge(&mut self, view: &FleetView<'_>) -> Vec<Verdict> {
        on_low_memory(view, self.used_fraction_max, Series::started)
    }
}

/// All healthy instances in this order, if the host is short of memory; the executor takes the first
/// that it may restart.
fn on_low_memory<K: Ord>(
    view: &FleetView<'_>,
    used_fraction_max: f64,
    order: impl Fn(&Series) -> K,
) -> Vec<Verdict> {
    let used_fraction = view.host.used_fraction();
    if used_fraction <= used_fraction_max {
        return Vec::new();
    }
    let mut candidates: Vec<&Series> =
        view.healthy().filter_map(|status| view.store.series(status.id)).collect();
    candidates.sort_by_key(|series| order(series));
    let verdict = |series: &&Series| Verdict {
        instance: series.id(),
        incarnation: series.incarnation(),
        reason: Reason::LowMemory { used_fraction },
    };
    candidates.iter().map(verdict).collect()
}
