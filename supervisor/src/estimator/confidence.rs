//! A confidence that follows how fast an instance grows.

use serde::Serialize;

/// Which confidence an instance is judged at, by how steeply it grows for one of its module.
///
/// The steepness is the instance's slope less the module's median slope, in units of how much slopes
/// differ in the module. A steep instance is judged at a low confidence, so its threshold is low and
/// it is restarted soon. One that grows as all do is judged at a high confidence and left alone: a
/// restart would change nothing about it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct SlopeConfidence {
    /// The confidence of the flat ones, up to a steepness of [`flat`](Self::flat).
    pub highest: f64,
    /// The confidence of the steep ones, from a steepness of [`steep`](Self::steep) on.
    pub lowest: f64,
    /// Up to here an instance counts as flat.
    pub flat: f64,
    /// From here on it counts as steep.
    pub steep: f64,
}

impl Default for SlopeConfidence {
    /// From 0.999 where the steepness is up to 1, to 0.80 where it is 4 and more.
    fn default() -> SlopeConfidence {
        SlopeConfidence { highest: 0.999, lowest: 0.80, flat: 1.0, steep: 4.0 }
    }
}

impl SlopeConfidence {
    /// The same confidence for all, whatever their slope.
    #[must_use]
    pub fn fixed(confidence: f64) -> SlopeConfidence {
        SlopeConfidence { highest: confidence, lowest: confidence, ..SlopeConfidence::default() }
    }

    /// The confidence at this steepness.
    ///
    /// Between flat and steep the doubt, 1 − confidence, grows by equal factors.
    #[must_use]
    pub fn at(&self, steepness: f64) -> f64 {
        let part = ((steepness - self.flat) / (self.steep - self.flat)).clamp(0.0, 1.0);
        let doubts = ((1.0 - self.highest).ln(), (1.0 - self.lowest).ln());
        1.0 - (doubts.0 + part * (doubts.1 - doubts.0)).exp()
    }

    /// Panics where the confidences are not between 0 and 1 and in order.
    pub(crate) fn check(&self) {
        let is_possible = 0.0 < self.lowest && self.lowest <= self.highest && self.highest < 1.0;
        assert!(is_possible && self.flat < self.steep, "{self:?}");
    }
}
