//! A role as a child process: started, waited for, ended.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::process::READY;

/// How long a role may take until it says that it is ready; much more than it needs.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running role; it ends with this value.
pub(super) struct Process {
    child: Child,
    /// What it writes, line by line.
    lines: Receiver<String>,
}

impl Process {
    /// Starts this program in a role.
    pub(super) fn start(arguments: &[String]) -> Result<Process, String> {
        let say = |error| format!("{}: {error}", arguments.join(" "));
        let program = std::env::current_exe().map_err(say)?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(say)?;
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                for line in lines {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Process { child, lines })
    }

    /// Waits until it says where it listens.
    pub(super) fn ready(&self) -> Result<String, String> {
        let line = self
            .lines
            .recv_timeout(READY_TIMEOUT)
            .map_err(|_| format!("process {} has not become ready", self.child.id()))?;
        let url = line.strip_prefix(READY).ok_or_else(|| format!("not ready: {line}"))?;
        Ok(url.to_owned())
    }

    /// The line that it wrote last, if it has written one since this was asked last.
    pub(super) fn last_line(&self) -> Option<String> {
        self.lines.try_iter().last()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or ends now; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
