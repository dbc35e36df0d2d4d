//! The load generator: clients that each send a request, wait for its answer, and check it.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::control::{
    Command, LoadReport, Message, end_with_supervisor, next_command, say, unexpected,
};
use crate::corpus::{Corpus, Request};
use crate::downstream;
use crate::measurement::{new_histogram, quantile_micros, record};
use crate::options::GenerateOptions;
use crate::wire::{Header, connect, read_frame_into, write_frame};

const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Starts the downstream service, then warms the server up and measures it when told to.
pub(crate) fn run(options: &GenerateOptions) -> io::Result<()> {
    end_with_supervisor();
    let corpus = Corpus::generate();
    let port = downstream::start()?;
    say(&Message::Ready { port })?;
    let server_port = match next_command()? {
        Some(Command::WarmUp { server_port }) => server_port,
        other => return Err(unexpected(other)),
    };
    let mut clients = (0..options.connections)
        .map(|_| Client::connect(server_port))
        .collect::<io::Result<Vec<_>>>()?;
    let requests = options.warm_up_requests + options.requests;
    Stage::new(&corpus, 0, options.warm_up_requests, requests).run(&mut clients)?;
    for client in &mut clients {
        client.latency.reset();
    }
    say(&Message::Warm)?;
    match next_command()? {
        Some(Command::Measure) => {}
        other => return Err(unexpected(other)),
    }
    let measured = Stage::new(&corpus, options.warm_up_requests, requests, requests);
    let elapsed = measured.run(&mut clients)?;
    say(&Message::Generated(report(&clients, elapsed)?))
}

fn report(clients: &[Client], elapsed: Duration) -> io::Result<LoadReport> {
    let mut latency = new_histogram();
    for client in clients {
        latency.add(&client.latency).map_err(io::Error::other)?;
    }
    Ok(LoadReport {
        elapsed_seconds: elapsed.as_secs_f64(),
        latency_p50_micros: quantile_micros(&latency, 0.5),
        latency_p99_micros: quantile_micros(&latency, 0.99),
    })
}

/// A part of a run: requests with numbers from the next one to send up to an end.
struct Stage<'a> {
    corpus: &'a Corpus,
    next: AtomicU32,
    end: u32,
    /// Of the whole run, because the mix of sizes depends on how far the run has come.
    requests: u32,
}

impl<'a> Stage<'a> {
    fn new(corpus: &'a Corpus, first: u32, end: u32, requests: u32) -> Self {
        Self { corpus, next: AtomicU32::new(first), end, requests }
    }

    /// Sends all requests of the stage, each by the first client that is free, and returns how
    /// long that took.
    fn run(&self, clients: &mut [Client]) -> io::Result<Duration> {
        let started = Instant::now();
        thread::scope(|scope| {
            let (stage_over, over) = channel::<()>();
            scope.spawn(move || self.report_progress(&over));
            let handles: Vec<_> =
                clients.iter_mut().map(|client| scope.spawn(|| client.send_all(self))).collect();
            let mut outcomes = handles.into_iter().map(|handle| {
                handle.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
            });
            let outcome = outcomes.try_for_each(|outcome| outcome);
            let elapsed = started.elapsed();
            drop(stage_over);
            outcome.map(|()| elapsed)
        })
    }

    /// Tells the supervisor how far the run has come, until the stage is over. It says nothing
    /// while the run stands still, so that the supervisor notices a server that hangs.
    fn report_progress(&self, over: &Receiver<()>) {
        let mut reported = None;
        while over.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let begun_requests = self.next.load(Ordering::Relaxed).min(self.end);
            if reported.replace(begun_requests) == Some(begun_requests) {
                continue;
            }
            if say(&Message::Progress { begun_requests }).is_err() {
                return;
            }
        }
    }

    fn take_request(&self) -> Option<Request<'a>> {
        // The number is all that clients share, so no ordering with other memory is needed.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then(|| self.corpus.request(number, self.requests))
    }
}

/// One connection, with at most one request under way.
struct Client {
    stream: TcpStream,
    latency: Histogram<u64>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> io::Result<Self> {
        Ok(Self { stream: connect(port)?, latency: new_histogram(), answer: Vec::new() })
    }

    fn send_all(&mut self, stage: &Stage<'_>) -> io::Result<()> {
        while let Some(request) = stage.take_request() {
            self.send(&request)?;
        }
        Ok(())
    }

    fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let header = Header { key: request.key, wait_micros: request.wait_micros };
        let sent = Instant::now();
        write_frame(&mut self.stream, header, &request.body.json)?;
        let answered = read_frame_into(&mut self.stream, &mut self.answer)?
            .ok_or_else(|| io::Error::other("the server closed a connection"))?;
        record(&mut self.latency, sent.elapsed());
        // A wrong sum would mean that the server's memory is not what it wrote there.
        let correct = answered.key == request.key
            && self.answer.starts_with(request.body.answer_prefix.as_bytes());
        correct.then_some(()).ok_or_else(|| io::Error::other("the server gave a wrong answer"))
    }
}
