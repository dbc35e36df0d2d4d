//! Restarts the right instance at the right time where memory only grows.
//!
//! Some memory can't be trimmed from outside: a WebAssembly linear memory never shrinks, and
//! neither does the heap of a tenant that leaks. The cure is to restart the instance that holds more
//! than it needs. This library finds out what an instance of a module needs by comparing it with the
//! module's other instances, and restarts the one that is over, carefully.
//!
//! ```text
//! Instances ─▶ Collector ─▶ Store ─▶ Estimator ─▶ Policy ─▶ Executor ─▶ restart
//!              every 10 s   bounded   intervals    verdicts  one at a time
//! ```
//!
//! [`Supervisor::step`] runs all of it once; the host calls it as often as it likes.
//!
//! ```
//! use std::time::Duration;
//!
//! use capmalloc_supervisor::{
//!     Instance, InstanceId, LimitedHost, ManualClock, PredictionInterval, Supervisor,
//!     SupervisorConfig, Tenant,
//! };
//!
//! let tenants: Vec<Tenant> = (0..5)
//!     .map(|id| Tenant::new(InstanceId(id), "mail".into()))
//!     .collect::<Result<_, _>>()?;
//!
//! // A program uses `SystemClock`; here time passes when it is told to.
//! let clock = ManualClock::new();
//! let host = LimitedHost { limit_bytes: 1 << 30 };
//! let config = SupervisorConfig::default();
//! let policy = PredictionInterval::default();
//! let mut supervisor = Supervisor::new(config, clock.clone(), host, policy);
//! for step in 0..100 {
//!     // Tenant 3 leaks 64 KiB every ten seconds.
//!     let layout = std::alloc::Layout::new::<[u8; 65536]>();
//!     let _lost = tenants[3].lease().alloc(layout);
//!
//!     let instances: Vec<&dyn Instance> = tenants.iter().map(|one| one as _).collect();
//!     let report = supervisor.step(&instances);
//!     for verdict in &report.execution.begun {
//!         println!("{:?}: {} is restarted: {}", report.at, verdict.instance, verdict.reason);
//!     }
//!     clock.advance(Duration::from_secs(10));
//! }
//! let restarts: Vec<u64> = tenants.iter().map(Instance::incarnation).collect();
//! assert_eq!(restarts, [0, 0, 0, 1, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod collector;
mod estimator;
mod executor;
mod host;
mod instance;
mod policy;
mod store;
mod supervisor;
mod tenant;
#[cfg(feature = "wasm")]
pub mod wasm;

pub use clock::{AcceleratedClock, Clock, ManualClock, SystemClock};
pub use collector::{
    ClockJump, Collection, Collector, CollectorConfig, Health, InstanceStatus, Miss,
};
pub use estimator::{
    CommonLeak, Estimate, Estimator, EstimatorConfig, Growth, Interval, Member, ModuleEstimate,
    SlopeConfidence, Threshold, TooFew, student_t_quantile,
};
pub use executor::{Execution, Executor, ExecutorConfig, Skip, Skipped};
pub use host::{Host, HostMemory, LimitedHost, SystemHost};
pub use instance::{Footprint, Instance, InstanceId, ModuleName, RestartError, SampleError};
pub use policy::{
    FleetView, LargestOnLowMemory, MeanInterval, Never, OldestOnLowMemory, Policy,
    PredictionInterval, Reason, Verdict,
};
pub use store::{Ended, Sample, Series, Store, StoreConfig, StoreFull};
pub use supervisor::{Report, Supervisor, SupervisorConfig};
pub use tenant::{Lease, Tenant};
