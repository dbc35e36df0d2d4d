//! The driver: a whole experiment in short, and that it leaves no process behind.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::role::{DEADLINE, Mark, await_some, await_true, program, signal};

/// A small experiment in a directory of its own.
struct Driver {
    child: Option<Child>,
    mark: Mark,
    out: TempDir,
}

impl Driver {
    fn start(arguments: &[&str]) -> Driver {
        let (mark, out) = (Mark::new(), TempDir::new().expect("a directory"));
        let mut command = Command::new(program());
        command
            .args(["--workers", "2", "--instances", "3", "--repetitions", "1", "--factor", "300"])
            .args(arguments)
            .arg("--out")
            .arg(out.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        mark.put_on(&mut command);
        let child = Some(command.spawn().expect("the driver starts"));
        Driver { child, mark, out }
    }

    fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("it has not been waited for");
        i32::try_from(child.id()).expect("a process's number")
    }

    /// Waits until it has ended, and all who could still write to its output.
    fn finish(&mut self) -> Output {
        let child = self.child.take().expect("it is waited for once");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = output.recv_timeout(DEADLINE) else {
            self.mark.processes("").into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
            panic!("the driver or a child of its has not ended");
        };
        output.expect("it can be waited for")
    }

    fn report(&self) -> Value {
        let path = self.out.path().join("report.json");
        let text = std::fs::read_to_string(path).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Two workers, a controller, a load generator.
    fn await_roles(&self) {
        await_true("the load generator runs", || self.mark.processes("load").len() == 1);
        assert_eq!(self.mark.processes("worker").len(), 2);
        assert_eq!(self.mark.processes("controller").len(), 1);
    }

    fn await_nothing_left(&self) {
        await_true("all processes have ended", || self.mark.processes("").is_empty());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its children die with it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn failed(run: &Value, cause: &str) -> u64 {
    run["summary"]["failed"][cause].as_u64().expect("a count")
}

#[test]
fn an_experiment_runs_and_tells_what_it_found() {
    // What six instances need is more than there is, which shows when none is restarted.
    let seconds = ["--seconds", "4", "--memory-limit", "24", "--policies", "none,largest"];
    let mut driver = Driver::start(&seconds);
    let output = driver.finish();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["300 times as fast", "estimate / need", "host memory, variance", "out of memory"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let report = driver.report();
    let runs = report["runs"].as_array().expect("a list");
    let policies: Vec<_> = runs.iter().map(|run| run["policy"].as_str()).collect();
    assert_eq!(policies, [Some("none"), Some("largest")]);
    for run in runs {
        assert_eq!(failed(run, "other"), 0, "{run}");
        assert!(run["summary"]["requests"].as_u64() > Some(100), "{run}");
        assert!(run["memory"].as_array().expect("a list").len() > 5, "{run}");
    }
    assert!(failed(&runs[0], "out_of_memory") > 0, "{}", runs[0]);
    let restarts = runs[0]["summary"]["restarts"].as_object().expect("an object");
    assert!(restarts.values().all(|count| count == 0), "{}", runs[0]);
    for file in ["memory.svg", "index.html", "table.txt"] {
        let text = std::fs::read_to_string(driver.out.path().join(file)).expect(file);
        assert!(file == "table.txt" || text.contains("<svg"), "{text}");
    }
    driver.await_nothing_left();
}

#[test]
fn a_worker_that_is_killed_is_started_anew_and_has_its_load_again() {
    let mut driver = Driver::start(&["--seconds", "300", "--policies", "prediction"]);
    driver.await_roles();
    // The driver leaves one that has just begun dead for a moment, lest it dies in a circle.
    thread::sleep(std::time::Duration::from_millis(600));
    signal(driver.mark.processes("worker")[0], libc::SIGKILL);
    let port = await_some("another worker at a port that it was told", || {
        let [pid] = driver.mark.processes("--generation")[..] else { return None };
        argument_after(pid, "--port")
    });
    await_true("the new incarnations have objects again", || {
        let agent = ureq::get(format!("http://127.0.0.1:{port}/footprints"));
        let Ok(mut response) = agent.call() else { return false };
        let report: Value = response.body_mut().read_json().expect("a report");
        report["instances"].as_array().expect("a list").iter().all(|instance| {
            instance["incarnation"].as_u64().expect("a number") >> 32 == 2
                && instance["footprint_bytes"].as_u64() > Some(1 << 20)
        })
    });
    assert_eq!(driver.mark.processes("worker").len(), 2);
    signal(driver.pid(), libc::SIGINT);
    assert_eq!(driver.finish().status.code(), Some(130));
    driver.await_nothing_left();
}

fn argument_after(pid: i32, option: &str) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut parts = line.split(|byte| *byte == 0);
    parts.find(|part| *part == option.as_bytes())?;
    Some(String::from_utf8_lossy(parts.next()?).into_owned())
}

#[test]
fn an_interrupt_ends_everything() {
    let mut driver = Driver::start(&["--seconds", "300"]);
    driver.await_roles();
    signal(driver.pid(), libc::SIGINT);
    let output = driver.finish();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    driver.await_nothing_left();
}

#[test]
fn a_driver_that_is_killed_takes_everything_with_it() {
    let mut driver = Driver::start(&["--seconds", "300"]);
    driver.await_roles();
    signal(driver.pid(), libc::SIGKILL);
    driver.finish();
    driver.await_nothing_left();
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    for (arguments, word) in [
        (["--factor", "0"], "above zero"),
        (["--leaking", "2"], "from 0 to 1"),
        (["--policies", "smallest"], "possible values"),
        (["--out", "/dev/null/fleet"], "/dev/null/fleet"),
    ] {
        let output = Command::new(program()).args(arguments).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(word), "{arguments:?}: {text}");
    }
}
