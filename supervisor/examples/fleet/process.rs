//! What every role does as a process: dies with its parent, and says where it listens.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// What a role's first line on its output starts with; the address follows.
pub(crate) const READY: &str = "ready ";

/// Has the kernel end this process when the thread that started it ends.
///
/// `parent` is that process's number: where it has ended already, this one does too.
pub(crate) fn die_with(parent: Option<u32>) {
    let Some(parent) = parent else { return };
    // SAFETY: the call takes a number and changes nothing but what becomes of this process.
    let status = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if status != 0 || std::os::unix::process::parent_id() != parent {
        std::process::exit(1);
    }
}

/// A small runtime for a role's server.
pub(crate) fn runtime(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Serves on loopback for ever, once it has told the address on its output; port zero is any.
pub(crate) async fn serve(port: u16, router: Router) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr()?;
    tell(&format!("{READY}http://{address}"))?;
    axum::serve(listener, router).await
}

/// Writes a line where the parent reads it at once.
pub(crate) fn tell(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
