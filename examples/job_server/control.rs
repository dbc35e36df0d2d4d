//! What the supervisor and the processes it starts say to each other: one JSON value a line, over
//! their standard input and output.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// What the supervisor asks of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// To the load generator: send the first requests to the server on this port.
    WarmUp { server_port: u16 },
    /// To the load generator: send the requests that count.
    Measure,
    /// To the server: forget what it has measured so far.
    Reset,
    /// To the server: say what it has measured.
    Report,
    /// To the server: give free memory back to the kernel.
    Trim,
}

/// What a process tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The process listens on this port.
    Ready { port: u16 },
    /// So many requests have been begun, of all in the run.
    Progress { begun_requests: u32 },
    /// The warm-up is over.
    Warm,
    /// The load is over.
    Generated(LoadReport),
    /// The server's answer to [`Command::Report`].
    Served(ServerReport),
    /// The server has done what it was asked.
    Done,
}

/// What the clients saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    pub(crate) elapsed_seconds: f64,
    pub(crate) latency_p50_micros: f64,
    pub(crate) latency_p99_micros: f64,
}

/// What the server saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServerReport {
    pub(crate) service_p50_micros: f64,
    pub(crate) service_p99_micros: f64,
    pub(crate) processor_micros: f64,
    pub(crate) minor_faults: f64,
}

/// Sends a message to the supervisor.
pub(crate) fn say(message: &Message) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, message)?;
    output.write_all(b"\n")?;
    output.flush()
}

/// Waits for the next command; `None` means that the supervisor has gone.
pub(crate) fn next_command() -> io::Result<Option<Command>> {
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

/// A command that a process does not know in its present state.
pub(crate) fn unexpected(command: Option<Command>) -> io::Error {
    match command {
        Some(command) => io::Error::other(format!("did not expect the command {command:?}")),
        None => io::Error::other("the supervisor has gone"),
    }
}

/// Has the kernel end this process as soon as the supervisor ends, however that happens. A
/// supervisor that is gone already shows as the end of standard input.
pub(crate) fn end_with_supervisor() {
    // SAFETY: This option of `prctl` takes one signal number by value and no pointer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}
