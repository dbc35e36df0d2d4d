//! Nobody is restarted.

use super::{FleetView, Policy, Verdict};

/// Restarts nobody; what the others are compared with.
#[derive(Clone, Copy, Default, Debug)]
pub struct Never;

impl Policy for Never {
    fn name(&self) -> &str {
        "never"
    }

    fn judge(&mut self, _view: &FleetView<'_>) -> Vec<Verdict> {
        Vec::new()
    }
}
