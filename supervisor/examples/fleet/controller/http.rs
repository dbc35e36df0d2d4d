//! The controller's side of HTTP: what it knows, as JSON and as metrics.

use std::sync::PoisonError;

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};

use super::{Shared, metrics};
use crate::exposition;
use crate::wire::ControllerReport;

pub(super) fn router(report: Shared) -> Router {
    Router::new()
        .route("/state", get(get_state))
        .route("/metrics", get(get_metrics))
        .with_state(report)
}

async fn get_state(State(report): State<Shared>) -> Json<ControllerReport> {
    Json(report.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn get_metrics(State(report): State<Shared>) -> Response {
    let report = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
    exposition::response(&metrics::registry(&report))
}
