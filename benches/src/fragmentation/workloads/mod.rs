//! The loads, one small module each.

mod burst_idle;
mod fork_warm;
mod idle_connections;
mod idle_workers;
mod job_server;
mod long_lived_cache;
mod pace;
mod shards;
mod size_drift;
mod trace;

pub(super) use burst_idle::burst_idle;
pub(super) use fork_warm::fork_warm;
pub(super) use idle_connections::{idle_connections, mixed_connections};
pub(super) use idle_workers::idle_workers;
pub(super) use job_server::job_server;
pub(super) use long_lived_cache::long_lived_cache;
pub(super) use size_drift::size_drift;
pub(super) use trace::replay_trace;
