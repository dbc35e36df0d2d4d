//! A real Prometheus scrapes a controller and its workers, where there is one.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::role::{Role, await_some, instance};

/// How often it is started for a port of its own.
const STARTS: usize = 5;

/// The longest that it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A Prometheus; it is killed with this value.
struct Prometheus {
    child: Child,
    url: String,
    // The data goes with it.
    _directory: TempDir,
}

impl Prometheus {
    /// None where the machine has no `prometheus`.
    ///
    /// It cannot be asked which port it took of its own choice, and one that was free a moment ago may
    /// be another process's by then; so it is started until it stays.
    fn start(targets: &[(&str, &str)]) -> Option<Prometheus> {
        for _ in 0..STARTS {
            let mut prometheus = Prometheus::start_at(free_port(), targets)?;
            if prometheus.comes_up() {
                return Some(prometheus);
            }
        }
        panic!("prometheus ended {STARTS} times before it answered");
    }

    fn start_at(port: u16, targets: &[(&str, &str)]) -> Option<Prometheus> {
        let directory = TempDir::new().expect("a directory");
        let mut config = "global: {scrape_interval: 200ms}\nscrape_configs:\n".to_owned();
        for (job, target) in targets {
            let _ = writeln!(
                config,
                "- {{job_name: {job}, static_configs: [{{targets: ['{target}']}}]}}"
            );
        }
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("the configuration");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("prometheus: {error}"),
        };
        let url = format!("http://127.0.0.1:{port}");
        Some(Prometheus { child, url, _directory: directory })
    }

    /// Whether it answers in the end, rather than ends.
    fn comes_up(&mut self) -> bool {
        await_some("prometheus answers or ends", || {
            let has_ended = self.child.try_wait().expect("a child to ask about").is_some();
            (has_ended || self.ask("status/buildinfo").is_some()).then_some(!has_ended)
        })
    }

    /// What its API answers, once it is up.
    fn ask(&self, path: &str) -> Option<Value> {
        let request = ureq::get(format!("{}/api/v1/{path}", self.url));
        // Whoever else has the port may never answer.
        let request = request.config().timeout_global(Some(ANSWER_MAX)).build();
        let mut response = request.call().ok()?;
        let mut answer: Value = response.body_mut().read_json().ok()?;
        (answer["status"] == "success").then(|| answer["data"].take())
    }

    /// The series of a metric, once there are so many.
    fn await_series(&self, metric: &str, count: usize) -> Vec<Value> {
        await_some(metric, || {
            let series = self.ask(&format!("query?query={metric}"))?["result"].take();
            series.as_array().filter(|series| series.len() == count).cloned()
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn a_real_prometheus_scrapes_controller_and_workers() {
    let worker = Role::worker(&["--instances", "3"]);
    let other = Role::worker(&["--instances", "3", "--number", "1"]);
    let controller = Role::controller("prediction", &[&worker, &other]);
    let target = |role: &Role| role.url.trim_start_matches("http://").to_owned();
    let targets = [target(&controller), target(&worker), target(&other)];
    let targets =
        [("controller", &*targets[0]), ("worker", &targets[1]), ("other_worker", &targets[2])];
    let Some(prometheus) = Prometheus::start(&targets) else {
        // CI asks for it by this variable, so that it can't be skipped unseen there.
        let is_wanted = std::env::var_os("FLEET_NEEDS_PROMETHEUS").is_some();
        assert!(!is_wanted, "prometheus is missing (Debian's package `prometheus`)");
        eprintln!("skipped: no program `prometheus` here (Debian's package of that name has it)");
        return;
    };
    await_some("all targets are up", || {
        let answer = prometheus.ask("targets?state=active")?;
        let up = |target: &Value| target["health"] == "up";
        let targets = answer["activeTargets"].as_array().cloned()?;
        (targets.len() == 3 && targets.iter().all(up)).then_some(())
    });

    let series = prometheus.await_series("fleet_instance_footprint_bytes", 6);
    let found = |id: &str| {
        let of_id = series.iter().find(|series| series["metric"]["instance_id"] == id);
        of_id.unwrap_or_else(|| panic!("no instance {id} in {series:?}"))
    };
    let images = found("1001");
    assert_eq!(images["metric"]["module"], "images");
    assert_eq!(images["metric"]["job"], "other_worker");
    let footprint = &instance(&other.get("footprints"), 1001)["footprint_bytes"];
    assert_eq!(images["value"][1], footprint.to_string());

    prometheus.await_series("fleet_controller_instance_healthy", 6);
    prometheus.await_series("fleet_controller_rounds_total", 1);
    prometheus.await_series("fleet_worker_limit_bytes", 2);
}
