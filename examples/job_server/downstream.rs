//! The downstream service: it answers each question about stock after the wait the question names.
//!
//! It lives in the load generator's process, so that neither its memory nor its processor time
//! counts as the server's. The server's workers wait for it in real reads on real sockets.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::job::Stock;
use crate::wire::{read_frame, write_frame};

/// Starts the service on a free port of loopback, which it returns.
pub(crate) fn start() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::Builder::new().name("downstream".to_owned()).spawn(move || accept_all(&listener))?;
    Ok(port)
}

fn accept_all(listener: &TcpListener) {
    for stream in listener.incoming() {
        let started = stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            thread::Builder::new().spawn(move || serve(stream))
        });
        if let Err(error) = started {
            eprintln!("error: the downstream service lost a connection: {error}");
        }
    }
}

/// Serves one worker until it hangs up. A failure ends the connection, which the worker reports.
fn serve(mut stream: TcpStream) {
    while let Ok(Some((header, question))) = read_frame(&mut stream) {
        let due = Instant::now() + Duration::from_micros(header.wait_micros.into());
        let Ok(answer) = answer(&question) else {
            return;
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if write_frame(&mut stream, header, &answer).is_err() {
            return;
        }
    }
}

/// Makes the answer up from the question alone, so that it is the same for every row.
fn answer(question: &[u8]) -> serde_json::Result<Vec<u8>> {
    let skus: Vec<String> = serde_json::from_slice(question)?;
    let stock = skus.into_iter().map(|sku| {
        let number = u32::from_str_radix(&sku, 16).unwrap_or(0);
        Stock { warehouse: format!("hall {}", number % 7), available: number % 1000, sku }
    });
    serde_json::to_vec(&stock.collect::<Vec<_>>())
}
