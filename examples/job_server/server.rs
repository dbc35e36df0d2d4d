//! The job server: a pool of workers, each of which serves one request at a time.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::ALLOCATOR;
use crate::cache::Cache;
use crate::control::{
    Command, Message, ServerReport, end_with_supervisor, next_command, say, unexpected,
};
use crate::job::{price, render};
use crate::measurement::{new_histogram, quantile_micros, record};
use crate::memory::{Usage, usage};
use crate::options::ServeOptions;
use crate::ready::ReadyConnections;
use crate::wire::{Header, connect, read_frame, write_frame};

/// What all threads of the server share.
#[derive(Debug)]
struct Server {
    cache: Cache,
    connections: ReadyConnections,
    service: Mutex<Histogram<u64>>,
}

/// Serves until the supervisor closes standard input.
pub(crate) fn run(options: &ServeOptions) -> io::Result<()> {
    end_with_supervisor();
    let server = Arc::new(Server {
        cache: Cache::default(),
        connections: ReadyConnections::new()?,
        service: Mutex::new(new_histogram()),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    for number in 0..options.threads {
        start_worker(&server, number, options.downstream_port)?;
    }
    let accepting = Arc::clone(&server);
    thread::Builder::new()
        .name("acceptor".to_owned())
        .spawn(move || accept_all(&listener, &accepting))?;
    say(&Message::Ready { port })?;
    obey(&server)
}

fn start_worker(server: &Arc<Server>, number: u16, downstream_port: u16) -> io::Result<()> {
    let mut worker = Worker {
        server: Arc::clone(server),
        downstream: connect(downstream_port)?,
        random: StdRng::seed_from_u64(number.into()),
    };
    thread::Builder::new().name(format!("worker {number}")).spawn(move || worker.work())?;
    Ok(())
}

fn accept_all(listener: &TcpListener, server: &Server) {
    for stream in listener.incoming() {
        let added = stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            server.connections.add(stream)
        });
        if let Err(error) = added {
            eprintln!("error: the server refused a client: {error}");
        }
    }
}

/// Does what the supervisor asks until it goes away.
fn obey(server: &Server) -> io::Result<()> {
    let mut usage_before = usage();
    while let Some(command) = next_command()? {
        match command {
            Command::Reset => {
                lock(&server.service).reset();
                usage_before = usage();
                say(&Message::Done)?;
            }
            Command::Report => say(&Message::Served(report(server, usage_before)))?,
            Command::Trim => {
                ALLOCATOR.trim();
                say(&Message::Done)?;
            }
            other => return Err(unexpected(Some(other))),
        }
    }
    Ok(())
}

fn report(server: &Server, usage_before: Usage) -> ServerReport {
    let used = usage().since(usage_before);
    let service = lock(&server.service);
    ServerReport {
        service_p50_micros: quantile_micros(&service, 0.5),
        service_p99_micros: quantile_micros(&service, 0.99),
        processor_micros: used.processor_micros,
        minor_faults: used.minor_faults,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread of the pool, with a connection of its own to the downstream service.
struct Worker {
    server: Arc<Server>,
    downstream: TcpStream,
    random: StdRng,
}

impl Worker {
    /// Serves one request after another, of whichever client has one. It ends only if the kernel
    /// refuses to say who has, which it has no reason to.
    fn work(&mut self) {
        let server = Arc::clone(&self.server);
        while let Ok(mut client) = server.connections.take() {
            let outcome = match self.serve_one(&mut client) {
                Ok(true) => server.connections.put_back(client),
                // The client has hung up between requests, so its connection is done with.
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                eprintln!("error: the server lost a client: {error}");
            }
        }
    }

    /// Serves the next request of a client, unless it has hung up.
    fn serve_one(&mut self, client: &mut TcpStream) -> io::Result<bool> {
        let Some((header, body)) = read_frame(client)? else {
            return Ok(false);
        };
        let started = Instant::now();
        let (answer, waited) = self.process(header, body)?;
        let service = started.elapsed().saturating_sub(waited);
        write_frame(client, header, &answer)?;
        record(&mut lock(&self.server.service), service);
        Ok(true)
    }

    /// Makes the answer to a request, and says how long it waited for the downstream service.
    ///
    /// It owns the request's body, so that all it allocates but the answer is freed on its return:
    /// freeing is a part of the service time.
    fn process(&mut self, header: Header, body: Vec<u8>) -> io::Result<(Vec<u8>, Duration)> {
        let priced = price(&body)?;
        let previous = self.server.cache.get(header.key);
        let question = priced.stock_query()?;
        let asked = Instant::now();
        write_frame(&mut self.downstream, header, &question)?;
        let (_, stock) = read_frame(&mut self.downstream)?
            .ok_or_else(|| io::Error::other("the downstream service has gone"))?;
        let waited = asked.elapsed();
        let (answer, document) = render(priced, &stock, previous.as_deref())?;
        self.server.cache.insert(header.key, document, &mut self.random);
        Ok((answer, waited))
    }
}
