//! A small service on `tokio` and `hyper` with `serde_json` bodies, and its clients.
//!
//! `server DIRECTORY...`: connections post source files, get them summarised, and close. The
//! service keeps sessions, which end long after they began, and bodies that grow as the day goes
//! on. Server and clients share one runtime of four threads, whose tasks move between them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use trace_recorder::{Recorder, source_files};

#[global_allocator]
static ALLOCATOR: Recorder = Recorder;

/// How many connections there are in all and at a time, and what each of them asks.
const CONNECTIONS: usize = 640;
const AT_A_TIME: usize = 48;
const REQUESTS: usize = 12;
/// How many sessions the service keeps.
const SESSIONS: usize = 400;

type Sessions = Arc<Mutex<HashMap<u64, Value>>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn answer(
    request: Request<Incoming>,
    sessions: Sessions,
) -> Result<Response<Full<Bytes>>, Failure> {
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body)?;
    let session = asked["session"].as_u64().unwrap_or(0);
    let mut words: HashMap<&str, usize> = HashMap::new();
    for line in asked["lines"].as_array().into_iter().flatten() {
        for word in line.as_str().unwrap_or("").split_whitespace() {
            *words.entry(word).or_default() += 1;
        }
    }
    let mut ranked: Vec<_> = words.into_iter().collect();
    ranked.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    ranked.truncate(20);
    let words: Vec<Value> =
        ranked.iter().map(|(word, count)| json!({ "word": word, "count": count })).collect();
    let summary = json!({ "session": session, "words": words });
    let text = serde_json::to_vec(&summary)?;
    {
        let mut sessions = sessions.lock().expect("no thread panicked");
        sessions.insert(session, summary);
        if session >= SESSIONS as u64 {
            // Three of four sessions end in the order they began; the others last.
            let old = session - SESSIONS as u64;
            if !old.is_multiple_of(4) {
                sessions.remove(&old);
            }
        }
    }
    Ok(Response::new(Full::new(Bytes::from(text))))
}

async fn serve(listener: TcpListener, sessions: Sessions) -> Result<Infallible, Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, sessions.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that leaves early is none of the service's business.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn ask(
    address: String,
    number: usize,
    files: Arc<Vec<Vec<String>>>,
) -> Result<usize, Failure> {
    let stream = TcpStream::connect(&address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut words = 0;
    for request in 0..REQUESTS {
        let lines = &files[(number * REQUESTS + request) % files.len()];
        // The bodies of later connections are larger.
        let count = (10 + number / 20).min(lines.len());
        let session = number * REQUESTS + request;
        let body = serde_json::to_vec(&json!({ "session": session, "lines": lines[..count] }))?;
        let request =
            Request::post("/").header("host", &address).body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?.into_body().collect().await?;
        let summary: Value = serde_json::from_slice(&response.to_bytes())?;
        words += summary["words"].as_array().map_or(0, Vec::len);
    }
    drop(sender);
    driver.await??;
    Ok(words)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> Result<(), Failure> {
    let paths = source_files();
    let files: Vec<Vec<String>> = paths
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.lines().take(60).map(String::from).collect())
        .collect();
    let files = Arc::new(files);

    let sessions = Sessions::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(serve(listener, sessions.clone()));
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let place = places.clone().acquire_owned().await?;
        let (address, files) = (address.clone(), files.clone());
        clients.push(tokio::spawn(async move {
            let words = ask(address, number, files).await;
            drop(place);
            words
        }));
    }
    let mut words = 0;
    for client in clients {
        words += client.await??;
    }
    let kept = sessions.lock().expect("no thread panicked").len();
    println!("{CONNECTIONS} connections, {words} words, {kept} sessions kept");
    Ok(())
}
