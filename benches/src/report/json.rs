//! `report.json`: every figure as it was measured, to be read again by this program or any other.

use super::results::{FORMAT_VERSION, Report};

/// The report as JSON on one line: samples are most of it, and nobody reads those by eye.
pub(super) fn render(report: &Report) -> String {
    // Only a map with keys that are no strings, or an error of the writer, could make this fail.
    let mut text = serde_json::to_string(report).expect("plain data can be written as JSON");
    text.push('\n');
    text
}

/// Reads a `report.json`.
///
/// # Errors
///
/// Gives a message where the text is no JSON, lacks a field, or is of another version.
pub fn parse(text: &str) -> Result<Report, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    match value.get("format_version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(FORMAT_VERSION) => {}
        Some(version) => {
            return Err(format!(
                "this report has format version {version}; this program reads {FORMAT_VERSION}"
            ));
        }
        None => return Err("this is no report: it has no format_version".into()),
    }
    serde_json::from_str(text).map_err(|error| format!("this report cannot be read: {error}"))
}
