//! The loads, one small module each.

mod idle_connections;
mod idle_workers;
mod size_drift;

pub(super) use idle_connections::{idle_connections, mixed_connections};
pub(super) use idle_workers::idle_workers;
pub(super) use size_drift::size_drift;
