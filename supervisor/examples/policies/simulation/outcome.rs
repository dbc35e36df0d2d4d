//! What came of a simulation.

use serde::Serialize;

/// The figures of one simulation.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Leaking incarnations that were restarted before the host's memory ran out.
    pub(crate) leaking_saved: u64,
    /// Leaking incarnations that saw the host's memory run out.
    pub(crate) leaking_lost: u64,
    /// Leaking incarnations that ran when the time was over, and saw no memory run out.
    pub(crate) leaking_left: u64,
    /// Healthy instances that were restarted.
    pub(crate) healthy_restarts: u64,
    /// Hours of simulated time, summed over the healthy instances.
    pub(crate) healthy_hours: f64,
    /// Restarts of all instances.
    pub(crate) restarts: u64,
    /// Modules that there are.
    pub(crate) modules: u64,
    /// Simulated hours.
    pub(crate) hours: f64,
    /// How often the host's memory ran out, and the kernel ended its largest instance.
    pub(crate) out_of_memory: u64,
    /// The mean over time of what the host used, as a part of its memory.
    pub(crate) memory_mean: f64,
    /// Its variance over time.
    pub(crate) memory_variance: f64,
    /// The mean over instances of the part of the time that they served.
    pub(crate) uptime: f64,
    /// The mean over time and modules of the estimated mean, as a part of the true one.
    pub(crate) estimate: f64,
    /// The mean over time and modules of the upper end of the prediction interval at 95 %, as a part
    /// of the true mean need.
    pub(crate) bound: f64,
}

impl Outcome {
    /// The part of leaking incarnations that were restarted before the host's memory ran out, in
    /// percent; `None` where none came to an end.
    pub(crate) fn leaking_saved_percent(&self) -> Option<f64> {
        let ended = self.leaking_saved + self.leaking_lost;
        (ended > 0).then(|| 100.0 * self.leaking_saved as f64 / ended as f64)
    }

    /// The part of the healthy instances that are restarted in an hour, in percent; `None` where
    /// none is healthy.
    pub(crate) fn healthy_percent_per_hour(&self) -> Option<f64> {
        let is_any = self.healthy_hours > 0.0;
        is_any.then(|| 100.0 * self.healthy_restarts as f64 / self.healthy_hours)
    }

    /// Restarts of a module in an hour.
    pub(crate) fn restarts_per_module_hour(&self) -> f64 {
        self.restarts as f64 / self.modules as f64 / self.hours
    }
}
