//! Roles of the example as processes, and what tests ask of them.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Names a test's processes in their environment, so that what is left of them can be found.
const MARK: &str = "FLEET_TEST_MARK";

/// A running role; it is killed with this value.
pub(crate) struct Role {
    pub(crate) child: Child,
    pub(crate) url: String,
}

/// The example's program, which Cargo builds next to the tests.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a program");
    let directory = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let program = directory.join("examples").join("fleet");
    assert!(
        program.exists(),
        "{} is missing: `cargo test --test fleet` alone does not build it, \
         `cargo build --example fleet` does",
        program.display()
    );
    program
}

impl Role {
    /// Starts a role and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Role {
        let parent = std::process::id().to_string();
        let mut child = Command::new(program())
            .args(arguments)
            .args(["--parent", &parent])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let output = child.stdout.take().expect("it is piped");
        let mut role = Role { child, url: String::new() };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let line = lines.recv_timeout(DEADLINE).expect("it says that it is ready");
        role.url = line.strip_prefix("ready ").expect("its address").to_owned();
        role
    }

    pub(crate) fn worker(arguments: &[&str]) -> Role {
        Role::start(&[&["worker"], arguments].concat())
    }

    /// A controller of these workers; time runs 300 times as fast as the wall's.
    pub(crate) fn controller(policy: &str, workers: &[&Role]) -> Role {
        let urls: Vec<&str> = workers.iter().map(|worker| worker.url.as_str()).collect();
        let urls = urls.join(",");
        Role::start(&["controller", "--policy", policy, "--factor", "300", "--workers", &urls])
    }

    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().expect("an address has a port")
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let text = self.text(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let mut response = agent().get(format!("{}/{path}", self.url)).call().expect(path);
        response.body_mut().read_to_string().expect(path)
    }

    /// The status of a request.
    pub(crate) fn status(&self, method: &str, path: &str, body: &[u8]) -> u16 {
        let (agent, url) = (agent(), format!("{}/{path}", self.url));
        let response = match method {
            "GET" => agent.get(url).call(),
            "DELETE" => agent.delete(url).call(),
            _ => agent.post(url).send(body),
        };
        response.expect(path).status().as_u16()
    }

    /// Ends the process at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
        .build();
    config.into()
}

/// Asks again and again until there is an answer.
pub(crate) fn await_some<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "it has not come: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn await_true(what: &str, mut ask: impl FnMut() -> bool) {
    await_some(what, || ask().then_some(()));
}

/// An instance in a worker's or a controller's report.
pub(crate) fn instance(report: &Value, id: u64) -> Value {
    let instances = report["instances"].as_array().expect("a list");
    let found = instances.iter().find(|instance| instance["id"] == id);
    found.unwrap_or_else(|| panic!("no instance {id} in {report}")).clone()
}

/// The sum of a controller's restarts.
pub(crate) fn restarts(state: &Value) -> u64 {
    let by_module = state["restarts_by_module"].as_object().expect("an object");
    by_module.values().map(|count| count.as_u64().expect("a count")).sum()
}

/// A mark for the processes that a test starts, which they hand on to their own.
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Mark {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Mark(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn put_on(&self, command: &mut Command) {
        command.env(MARK, &self.0);
    }

    /// Processes with this mark whose command line has that word; "" for all.
    pub(crate) fn processes(&self, word: &str) -> Vec<i32> {
        let wanted = format!("{MARK}={}", self.0);
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_marked = |pid: &i32| {
            let read =
                |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let has = |text: Vec<u8>, word: &str| {
                word.is_empty() || text.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
            };
            has(read("environ"), &wanted) && has(read("cmdline"), word)
        };
        numbers.filter(is_marked).collect()
    }
}

/// Sends a signal to a process that a test has started.
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: the call takes two numbers and touches no memory of this process.
    unsafe { libc::kill(pid, signal) };
}
