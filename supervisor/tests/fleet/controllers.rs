//! A controller and its workers: what it restarts, and what it leaves alone.

use serde_json::Value;

use super::role::{Role, await_some, await_true, instance, restarts};

const MIB: u64 = 1 << 20;

/// Seconds of the fleet's time after which an instance counts as settled.
const SETTLED: f64 = 600.0;

/// Instances of the module `notes` in a worker with twelve.
const NOTES: [u64; 4] = [0, 3, 6, 9];

fn leak(worker: &Role, id: u64, bytes: u64) {
    let path = format!("modules/notes/instances/{id}/leak?bytes={bytes}");
    assert_eq!(worker.status("POST", &path, &[]), 204);
}

fn rounds(state: &Value) -> u64 {
    state["rounds"].as_u64().expect("a count")
}

fn restarted(state: &Value) -> Vec<(u64, f64)> {
    let restarts = state["restarts"].as_array().expect("a list").iter();
    let entry = |restart: &Value| {
        let id = restart["id"].as_u64().expect("a number");
        (id, restart["at_seconds"].as_f64().expect("a time"))
    };
    restarts.map(entry).collect()
}

/// Waits until the controller has taken so many more samples.
fn await_rounds(controller: &Role, more: u64) -> Value {
    let until = rounds(&controller.get("state")) + more;
    await_some("more rounds", || {
        Some(controller.get("state")).filter(|state| rounds(state) >= until)
    })
}

#[test]
fn a_new_controller_restarts_nothing_before_it_knows_and_then_the_right_one() {
    let worker = Role::worker(&["--instances", "12", "--memory-limit", "256"]);
    for (index, id) in NOTES.into_iter().enumerate() {
        leak(&worker, id, MIB + index as u64 * 65536);
    }
    leak(&worker, NOTES[1], 16 * MIB);
    let mut first = Role::controller("prediction", &[&worker]);
    let state = await_some("the first restart", || {
        Some(first.get("state")).filter(|state| restarts(state) > 0)
    });
    assert!(restarted(&state).iter().all(|(id, _)| *id == NOTES[1]), "{state}");
    first.kill();

    // The next one finds another instance over, and no samples.
    leak(&worker, NOTES[1], MIB);
    leak(&worker, NOTES[2], 16 * MIB);
    let second = Role::controller("prediction", &[&worker]);
    let state = await_some("the second controller's restart", || {
        Some(second.get("state")).filter(|state| restarts(state) > 0)
    });
    let restarted = restarted(&state);
    assert_eq!(restarted.len(), 1, "{state}");
    let (id, at_seconds) = restarted[0];
    assert!(id == NOTES[2] && at_seconds >= SETTLED, "{state}");
}

#[test]
fn a_worker_that_dies_brings_no_storm_and_is_watched_again_when_it_is_back() {
    let steady = Role::worker(&["--instances", "6"]);
    let mut dying = Role::worker(&["--instances", "6", "--number", "1"]);
    let controller = Role::controller("mean", &[&steady, &dying]);
    let is = |state: &Value, id: u64, wanted: &str| instance(state, id)["state"] == wanted;
    await_true("all are healthy", || {
        let state = controller.get("state");
        let instances = state["instances"].as_array().expect("a list");
        instances.len() == 12 && instances.iter().all(|instance| instance["state"] == "healthy")
    });
    let port = dying.port().to_owned();
    dying.kill();
    await_true("the dead worker's instances are gone", || {
        let state = controller.get("state");
        (1000..1006).all(|id| is(&state, id, "gone"))
    });
    let state = await_rounds(&controller, 20);
    assert!((0..6).all(|id| is(&state, id, "healthy")), "{state}");
    assert_eq!(restarts(&state) + state["restarts_failed"].as_u64().expect("a count"), 0);

    let again = ["--instances", "6", "--number", "1", "--generation", "2", "--port", port.as_str()];
    let again = Role::worker(&again);
    let incarnation = instance(&again.get("footprints"), 1000)["incarnation"].clone();
    await_true("the new instances are watched", || {
        let state = controller.get("state");
        (1000..1006).all(|id| is(&state, id, "healthy"))
            && instance(&state, 1000)["incarnation"] == incarnation
    });
    let state = await_rounds(&controller, 20);
    assert_eq!(restarts(&state), 0, "{state}");
    assert_eq!(instance(&again.get("footprints"), 1000)["incarnation"], incarnation);
}

#[test]
fn a_worker_that_stands_still_is_not_taken_for_dead_or_restarted_in_heaps() {
    let steady = Role::worker(&["--instances", "3"]);
    let stopped = Role::worker(&["--instances", "3", "--number", "1"]);
    let controller = Role::controller("none", &[&steady, &stopped]);
    await_rounds(&controller, 3);
    let pid = i32::try_from(stopped.child.id()).expect("a process's number");
    super::role::signal(pid, libc::SIGSTOP);
    await_true("its instances count as hung", || {
        let state = controller.get("state");
        (1000..1003).all(|id| instance(&state, id)["state"] == "hung")
    });
    let state = await_rounds(&controller, 5);
    // It may be late itself, on a machine with other work, but not three times in a row.
    assert_ne!(instance(&state, 0)["state"], "hung", "{state}");
    super::role::signal(pid, libc::SIGCONT);
    await_true("it answers again", || {
        let state = controller.get("state");
        (1000..1003).all(|id| instance(&state, id)["state"] == "healthy")
    });
    // One at a time was asked for at most, and each of them once.
    let state = await_rounds(&controller, 10);
    assert!(restarts(&state) <= 3, "{state}");
}

#[test]
fn a_controller_that_was_stopped_notices_the_jump_and_restarts_nothing() {
    let worker = Role::worker(&["--instances", "6"]);
    let controller = Role::controller("mean", &[&worker]);
    await_rounds(&controller, 3);
    let pid = i32::try_from(controller.child.id()).expect("a process's number");
    super::role::signal(pid, libc::SIGSTOP);
    // More than the two minutes that the collector believes, at 300 times the wall's speed.
    std::thread::sleep(std::time::Duration::from_millis(600));
    super::role::signal(pid, libc::SIGCONT);
    await_true("the jump is noticed", || {
        let findings = controller.get("state")["findings"].to_string();
        findings.contains("the clock jumped: Forward")
    });
    let state = await_rounds(&controller, 10);
    assert_eq!(restarts(&state), 0, "{state}");
}

#[test]
fn an_instance_that_hangs_is_restarted_and_no_other() {
    let worker = Role::worker(&["--instances", "6"]);
    let controller = Role::controller("none", &[&worker]);
    await_rounds(&controller, 3);
    let incarnation = |id: u64| instance(&worker.get("footprints"), id)["incarnation"].clone();
    let before: Vec<Value> = (0..6).map(incarnation).collect();
    // It has not answered in time, or was restarted within that time.
    let status = worker.status("POST", "modules/images/instances/4/hang", &[]);
    assert!([503, 504].contains(&status), "{status}");
    await_true("it is another one, and answers", || {
        let report = instance(&worker.get("footprints"), 4);
        report["incarnation"] != before[4] && report["responsive"] == true
    });
    let state = await_rounds(&controller, 10);
    assert_eq!(restarts(&state), 1, "{state}");
    let reason = state["restarts"][0]["reason"].as_str().expect("a reason");
    assert_eq!((state["restarts"][0]["id"].as_u64(), reason), (Some(4), "it does not answer"));
    for id in [0, 1, 2, 3, 5] {
        assert_eq!(incarnation(id), before[id as usize]);
    }
}

#[test]
fn the_hosts_memory_is_shared_out_and_never_more_than_all_of_it() {
    let workers = [
        Role::worker(&["--instances", "3", "--memory-limit", "32"]),
        Role::worker(&["--instances", "3", "--memory-limit", "32", "--number", "1"]),
    ];
    let urls = format!("{},{}", workers[0].url, workers[1].url);
    let controller = Role::start(&[
        "controller",
        "--memory-limit",
        "64",
        "--policy",
        "none",
        "--workers",
        &urls,
    ]);
    // More than half of the host's, for one worker: what the other does not hold.
    let object = vec![3; 1 << 20];
    for key in 0..44 {
        let path = format!("modules/notes/instances/0/objects/{key}");
        await_true("there is room", || workers[0].status("POST", &path, &object) == 204);
    }
    let limit = |worker: &Role| {
        let report = worker.get("footprints");
        (
            report["limit_bytes"].as_u64().expect("it"),
            report["resident_bytes"].as_u64().expect("it"),
        )
    };
    await_true("the limits are within the host's memory", || {
        let (one, other) = (limit(&workers[0]), limit(&workers[1]));
        one.1 > 40 * MIB && one.0 >= one.1 && one.0 + other.0 <= 65 * MIB
    });
    let text = controller.text("metrics");
    assert!(text.contains("fleet_controller_host_limit_bytes 67108864\n"), "{text}");
}
