//! The worker's side of HTTP: objects, footprints, restarts, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::slot::{Answer, NotRestarted, Operation, Slot};
use super::{Worker, metrics};
use crate::exposition;
use crate::wire::{CAUSE_HEADER, Cause, INCARNATION_HEADER, WorkerReport};

/// How long a request waits for its instance.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a request for a restart waits for it to end.
const RESTART_WAIT: Duration = Duration::from_millis(300);

/// The largest object.
const OBJECT_BYTES_MAX: usize = 16 << 20;

type Shared = State<Arc<Worker>>;

pub(super) fn router(worker: Arc<Worker>) -> Router {
    let object = get(get_object).post(post_object).delete(delete_object);
    Router::new()
        .route("/modules/{module}/instances/{id}/objects/{key}", object)
        .route("/modules/{module}/instances/{id}/leak", post(post_leak))
        .route("/modules/{module}/instances/{id}/hang", post(post_hang))
        .route("/footprints", get(get_footprints))
        .route("/restart/{id}", post(post_restart))
        .route("/limit", post(post_limit))
        .route("/metrics", get(get_metrics))
        .layer(DefaultBodyLimit::max(OBJECT_BYTES_MAX))
        .with_state(worker)
}

type ObjectPath = Path<(String, u64, u64)>;

async fn get_object(State(worker): Shared, Path((module, id, key)): ObjectPath) -> Response {
    perform(&worker, &module, id, Operation::Get { key }).await
}

async fn post_object(
    State(worker): Shared,
    Path((module, id, key)): ObjectPath,
    body: Bytes,
) -> Response {
    perform(&worker, &module, id, Operation::Put { key, object: body }).await
}

async fn delete_object(State(worker): Shared, Path((module, id, key)): ObjectPath) -> Response {
    perform(&worker, &module, id, Operation::Delete { key }).await
}

#[derive(Deserialize)]
struct ByteCount<T> {
    bytes: T,
}

async fn post_leak(
    State(worker): Shared,
    Path((module, id)): Path<(String, u64)>,
    Query(ByteCount { bytes }): Query<ByteCount<u32>>,
) -> Response {
    perform(&worker, &module, id, Operation::Leak { bytes }).await
}

async fn post_hang(State(worker): Shared, Path((module, id)): Path<(String, u64)>) -> Response {
    perform(&worker, &module, id, Operation::Hang).await
}

/// Has an instance do something and turns what came of it into a response.
async fn perform(worker: &Worker, module: &str, id: u64, operation: Operation) -> Response {
    let Some(slot) = worker.slot(id).filter(|slot| slot.module() == module) else {
        return (StatusCode::NOT_FOUND, "no such instance\n").into_response();
    };
    let incarnation = slot.incarnation();
    let mut response = match begin(Arc::clone(slot), operation).await {
        Ok(Answer::Object(object)) => object.into_response(),
        Ok(Answer::Done) => StatusCode::NO_CONTENT.into_response(),
        Err(cause) => failure(cause),
    };
    response.headers_mut().insert(INCARNATION_HEADER, incarnation.into());
    response
}

/// Does it on a thread where it may wait, and gives up on an instance that hangs.
async fn begin(slot: Arc<Slot>, operation: Operation) -> Result<Answer, Cause> {
    let performed = tokio::task::spawn_blocking(move || slot.perform(&operation));
    match tokio::time::timeout(ANSWER_TIMEOUT, performed).await {
        Ok(outcome) => outcome.unwrap_or(Err(Cause::Other)),
        Err(_elapsed) => Err(Cause::Unresponsive),
    }
}

fn failure(cause: Cause) -> Response {
    let status = match cause {
        Cause::OutOfMemory => StatusCode::INSUFFICIENT_STORAGE,
        Cause::Restarting | Cause::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        Cause::Lost => StatusCode::NOT_FOUND,
        Cause::Unresponsive => StatusCode::GATEWAY_TIMEOUT,
        Cause::Unreachable | Cause::Other => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, [(CAUSE_HEADER, cause.name())]).into_response()
}

async fn get_footprints(State(worker): Shared) -> Json<WorkerReport> {
    Json(worker.report())
}

#[derive(Deserialize)]
struct Meant {
    incarnation: Option<u64>,
}

async fn post_restart(
    State(worker): Shared,
    Path(id): Path<u64>,
    Query(Meant { incarnation }): Query<Meant>,
) -> Response {
    let Some(slot) = worker.slot(id).cloned() else {
        return (StatusCode::NOT_FOUND, "no such instance\n").into_response();
    };
    let restart = tokio::task::spawn_blocking(move || slot.restart(incarnation));
    let Ok(outcome) = tokio::time::timeout(RESTART_WAIT, restart).await else {
        // It goes on; the footprints tell when the next incarnation is there.
        return StatusCode::ACCEPTED.into_response();
    };
    match outcome {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(NotRestarted::Changed)) => {
            (StatusCode::GONE, "it is another incarnation by now\n").into_response()
        }
        Ok(Err(NotRestarted::UnderWay)) => {
            (StatusCode::CONFLICT, "it is being restarted already\n").into_response()
        }
        Ok(Err(NotRestarted::Failed(reason))) => {
            (StatusCode::INTERNAL_SERVER_ERROR, reason.to_string()).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn post_limit(
    State(worker): Shared,
    Query(ByteCount { bytes }): Query<ByteCount<u64>>,
) -> StatusCode {
    worker.set_limit(bytes);
    StatusCode::NO_CONTENT
}

async fn get_metrics(State(worker): Shared) -> Response {
    exposition::response(&metrics::registry(&worker.report()))
}
