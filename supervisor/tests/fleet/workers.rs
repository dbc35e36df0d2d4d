//! A worker by itself: objects, limits, restarts, an instance that hangs.

use super::role::{Role, await_true, instance};

/// The first instance of the first module.
const NOTES: &str = "modules/notes/instances/0";

fn bytes(value: &serde_json::Value) -> u64 {
    value.as_u64().expect("a number of bytes")
}

#[test]
fn objects_are_stored_read_and_deleted() {
    let worker = Role::worker(&["--instances", "3"]);
    let object = vec![7; 300_000];
    let path = format!("{NOTES}/objects/5");
    assert_eq!(worker.status("GET", &path, &[]), 404, "there is none yet");
    assert_eq!(worker.status("POST", &path, &object), 204);
    assert_eq!(worker.text(&path).into_bytes(), object);
    assert_eq!(worker.status("GET", "modules/notes/instances/1/objects/5", &[]), 404);
    assert_eq!(worker.status("GET", "modules/images/instances/0/objects/5", &[]), 404);
    assert_eq!(worker.status("GET", &format!("{NOTES}/objects/five"), &[]), 400);
    assert_eq!(worker.status("DELETE", &path, &[]), 204);
    assert_eq!(worker.status("DELETE", &path, &[]), 404);
}

#[test]
fn without_memory_a_request_fails_and_the_rest_goes_on() {
    let worker = Role::worker(&["--instances", "1", "--memory-limit", "16"]);
    let object = vec![1; 1 << 20];
    let store = |key: u64| worker.status("POST", &format!("{NOTES}/objects/{key}"), &object);
    let first_refused = (1..40).find(|key| store(*key) != 204).expect("16 MiB don't hold 40");
    assert!(first_refused > 4, "{first_refused}");
    assert_eq!(store(first_refused), 507);
    let report = worker.get("footprints");
    assert!(bytes(&report["refusals"]) > 0, "{report}");
    assert!(bytes(&report["resident_bytes"]) <= 16 << 20, "{report}");
    // What is there is there, and a place that gets free can be used.
    assert_eq!(worker.text(&format!("{NOTES}/objects/1")).into_bytes(), object);
    assert_eq!(worker.status("DELETE", &format!("{NOTES}/objects/1"), &[]), 204);
    assert_eq!(store(first_refused), 204);
    assert_eq!(worker.status("POST", "limit?bytes=33554432", &[]), 204);
    assert_eq!(store(first_refused + 1), 204);
}

#[test]
fn a_restart_gives_the_memory_back() {
    const LEAK: u64 = 32 << 20;
    let worker = Role::worker(&["--instances", "1", "--memory-limit", "64"]);
    assert_eq!(worker.status("POST", &format!("{NOTES}/leak?bytes={LEAK}"), &[]), 204);
    let full = worker.get("footprints");
    assert!(bytes(&instance(&full, 0)["footprint_bytes"]) > LEAK, "{full}");
    let process_full = resident_bytes(&worker);
    assert_eq!(worker.status("POST", "restart/0", &[]), 204);
    let empty = worker.get("footprints");
    // A page of the guest's is all that it has at first.
    assert!(bytes(&instance(&empty, 0)["footprint_bytes"]) <= 65536, "{empty}");
    await_true("the memory is back with the system", || {
        resident_bytes(&worker) + LEAK - (4 << 20) <= process_full
            && bytes(&worker.get("footprints")["resident_bytes"]) < 4 << 20
    });
}

fn resident_bytes(worker: &Role) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", worker.child.id());
    let text = std::fs::read_to_string(path).expect("the worker runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line for it");
    let kibibytes = line.trim().strip_suffix(" kB").expect("its unit").trim();
    kibibytes.parse::<u64>().expect("a number") << 10
}

#[test]
fn only_the_incarnation_that_is_meant_is_restarted() {
    let worker = Role::worker(&["--instances", "1"]);
    let incarnation = || bytes(&instance(&worker.get("footprints"), 0)["incarnation"]);
    let first = incarnation();
    let restart = format!("restart/0?incarnation={first}");
    assert_eq!(worker.status("POST", &restart, &[]), 204);
    assert_eq!(incarnation(), first + 1);
    // Somebody decided by what the first one held; the second is not it.
    assert_eq!(worker.status("POST", &restart, &[]), 410);
    assert_eq!(incarnation(), first + 1);
    assert_eq!(worker.status("POST", "restart/77", &[]), 404);
}

#[test]
fn a_later_worker_has_later_incarnations() {
    let mut first = Role::worker(&["--instances", "1", "--number", "3"]);
    assert_eq!(first.status("POST", "restart/3000", &[]), 204);
    let before = bytes(&instance(&first.get("footprints"), 3000)["incarnation"]);
    let port = first.port().to_owned();
    first.kill();
    let second = ["--instances", "1", "--number", "3", "--generation", "2", "--port", &port];
    let second = Role::worker(&second);
    assert_eq!(second.port(), port);
    assert!(bytes(&instance(&second.get("footprints"), 3000)["incarnation"]) > before);
}

#[test]
fn an_instance_that_hangs_leaves_the_others_alone() {
    let worker = Role::worker(&["--instances", "4"]);
    assert_eq!(worker.status("POST", &format!("{NOTES}/hang"), &[]), 504);
    let report = worker.get("footprints");
    assert_eq!(instance(&report, 0)["responsive"], false, "{report}");
    for other in 1..4 {
        assert_eq!(instance(&report, other)["responsive"], true, "{report}");
    }
    // The third is of the same module.
    let other = "modules/notes/instances/3/objects/1";
    assert_eq!(worker.status("POST", other, b"still here"), 204);
    assert_eq!(worker.status("POST", &format!("{NOTES}/objects/1"), b"waits"), 504);
    // A restart may be told of before it has ended.
    assert!([202, 204].contains(&worker.status("POST", "restart/0", &[])));
    await_true("the instance is back", || {
        instance(&worker.get("footprints"), 0)["responsive"] == true
    });
    assert_eq!(worker.status("POST", &format!("{NOTES}/objects/1"), b"again"), 204);
    assert_eq!(worker.text(other), "still here");
}

#[test]
fn metrics_are_in_the_text_format() {
    let worker = Role::worker(&["--instances", "2"]);
    assert_eq!(worker.status("POST", "restart/1", &[]), 204);
    let text = worker.text("metrics");
    let footprint = bytes(&instance(&worker.get("footprints"), 0)["footprint_bytes"]);
    for line in [
        "# TYPE fleet_instance_footprint_bytes gauge".to_owned(),
        format!("fleet_instance_footprint_bytes{{instance_id=\"0\",module=\"notes\"}} {footprint}"),
        "fleet_instance_restarts_total{instance_id=\"1\",module=\"images\"} 1".to_owned(),
        "fleet_worker_refusals_total 0".to_owned(),
        "# EOF".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in:\n{text}");
    }
}
