//! The processes that the supervisor starts, each of which ends no later than its handle here.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::{Command, Message};
use crate::interrupt;

/// Why a run did not come to its end.
#[derive(Debug)]
pub(crate) enum RunError {
    Interrupted,
    Failed(String),
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How soon the supervisor notices an interrupt.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// How long a crashing process may take from losing its connections to its end.
const CRASH_GRACE: Duration = Duration::from_millis(200);

/// A process that says nothing for so long hangs: both kinds answer within milliseconds when idle,
/// and report progress several times a second when busy.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A running process of this program, with the pipes to it.
#[derive(Debug)]
pub(crate) struct Helper {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    messages: Receiver<io::Result<Message>>,
    last_heard: Instant,
}

impl Helper {
    /// Starts this very program, even if its file has been replaced since, as a part that `command`
    /// names by its arguments.
    pub(crate) fn start(
        name: &'static str,
        configure: impl FnOnce(&mut std::process::Command),
    ) -> Result<Self, RunError> {
        let mut command = std::process::Command::new("/proc/self/exe");
        // In a group of its own it does not see a terminal's Ctrl-C, which is the supervisor's.
        command
            .arg0(env!("CARGO_CRATE_NAME"))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        configure(&mut command);
        let mut child = command.spawn()?;
        let missing = || RunError::Failed(format!("{name} has no pipe"));
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            messages: read_messages(output)?,
            name,
            child,
            input,
            last_heard: Instant::now(),
        })
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, command: &Command) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(command).map_err(io::Error::from)?;
        line.push(b'\n');
        if self.input.write_all(&line).is_err() {
            return Err(self.ended_early());
        }
        self.last_heard = Instant::now();
        Ok(())
    }

    /// Waits for a message until `deadline`; `None` means that none came in time.
    pub(crate) fn message_until(&mut self, deadline: Instant) -> Result<Option<Message>, RunError> {
        if interrupt::requested() {
            return Err(RunError::Interrupted);
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        match self.messages.recv_timeout(timeout) {
            Ok(message) => {
                self.last_heard = Instant::now();
                Ok(Some(message?))
            }
            Err(RecvTimeoutError::Timeout) if self.last_heard.elapsed() < SILENCE_MAX => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.failure(format_args!("said nothing for {SILENCE_MAX:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended_early()),
        }
    }

    /// Waits for the next message, however long that takes.
    pub(crate) fn message(&mut self) -> Result<Message, RunError> {
        loop {
            if let Some(message) = self.message_until(Instant::now() + INTERRUPT_POLL)? {
                return Ok(message);
            }
        }
    }

    /// The error for a message that does not fit what the process was asked.
    pub(crate) fn unexpected(&self, message: &Message) -> RunError {
        self.failure(format_args!("unexpectedly said {message:?}"))
    }

    /// Says how a process has ended by itself, if it has.
    pub(crate) fn early_end(&mut self) -> Option<String> {
        // A process that crashes loses its connections a moment before its end can be seen.
        thread::sleep(CRASH_GRACE);
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended early ({status})", self.name))
    }

    fn ended_early(&mut self) -> RunError {
        // An interrupt may be why it ended, and is then all that there is to say.
        if interrupt::requested() {
            return RunError::Interrupted;
        }
        match self.child.wait() {
            Ok(status) => self.failure(format_args!("ended early ({status})")),
            Err(error) => self.failure(format_args!("cannot be waited for: {error}")),
        }
    }

    fn failure(&self, what: impl fmt::Display) -> RunError {
        RunError::Failed(format!("{} {what}", self.name))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already, which is what they are here for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a child's messages on a thread of their own, which ends with the child.
fn read_messages(output: ChildStdout) -> io::Result<Receiver<io::Result<Message>>> {
    let (sender, receiver) = channel();
    thread::Builder::new().name("messages".to_owned()).spawn(move || {
        for line in BufReader::new(output).lines() {
            let message = line.and_then(|line| Ok(serde_json::from_str(&line)?));
            if sender.send(message).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Waits, unless an interrupt comes first.
pub(crate) fn sleep(duration: Duration) -> Result<(), RunError> {
    let deadline = Instant::now() + duration;
    loop {
        if interrupt::requested() {
            return Err(RunError::Interrupted);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(INTERRUPT_POLL));
    }
}
