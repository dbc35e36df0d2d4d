//! Figures in the text format that Prometheus scrapes.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of one series, by name.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A gauge in bytes or counts, one series for each set of labels.
pub(crate) type Gauges = Family<Labels, Gauge>;

/// A gauge of a figure that has a fraction.
pub(crate) type FloatGauges = Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>;

/// A counter, one series for each set of labels.
pub(crate) type Counters = Family<Labels, Counter>;

/// The type of what [`encode`] writes.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bytes and counts as the gauges hold them.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The response to a scrape.
pub(crate) fn response(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}
