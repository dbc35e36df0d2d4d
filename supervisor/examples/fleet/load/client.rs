//! The client of one instance: stores objects, reads them back, deletes them when their time is up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::truth::Known;
use crate::options::TimeOptions;
use crate::plan::Plan;
use crate::wire::{CAUSE_HEADER, Cause, INCARNATION_HEADER};

/// How long a client that was turned away waits before it stores anew what was lost, in the fleet's
/// time; and the least that it waits in real time.
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_REAL: Duration = Duration::from_millis(20);

/// An object that the instance has.
struct Object {
    key: u64,
    bytes: u64,
}

/// What one client does and has.
pub(crate) struct Client {
    id: u64,
    url: String,
    agent: ureq::Agent,
    time: TimeOptions,
    plan: Plan,
    known: Arc<Known>,
    /// Live objects by the time at which they are to go; keys tell equal times apart.
    objects: BTreeMap<(Instant, u64), Object>,
    incarnation: Option<u64>,
    next_key: u64,
    /// The size of the next object: it is kept until it fits, so that large ones get their turn.
    next_bytes: u64,
}

impl Client {
    pub(crate) fn new(
        id: u64,
        worker: &str,
        agent: ureq::Agent,
        time: TimeOptions,
        mut plan: Plan,
        known: Arc<Known>,
    ) -> Client {
        let url = format!("{worker}/modules/{}/instances/{id}", plan.module.name);
        Client {
            id,
            url,
            agent,
            time,
            known,
            objects: BTreeMap::new(),
            incarnation: None,
            next_key: 1,
            next_bytes: plan.object_bytes(),
            plan,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Works until the process ends.
    pub(crate) fn run(mut self) {
        let mut leak = self.after(Plan::leak_pause);
        loop {
            self.fill();
            let expiry = self.objects.keys().next().map(|(time, _)| *time);
            let leak_due = self.plan.leaks.then_some(leak);
            let idle = Instant::now() + self.back_off();
            let due = [expiry, leak_due].into_iter().flatten().min().unwrap_or(idle);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if Some(due) == expiry {
                self.replace_oldest();
            } else if Some(due) == leak_due {
                leak = self.after(Plan::leak_pause);
                self.leak();
            }
        }
    }

    /// The moment that lies a random time ahead.
    fn after(&mut self, pause: fn(&mut Plan) -> Duration) -> Instant {
        Instant::now() + self.time.real(pause(&mut self.plan))
    }

    fn back_off(&self) -> Duration {
        self.time.real(BACK_OFF).max(BACK_OFF_REAL)
    }

    /// Stores objects until the next one would be over the quota, or is turned away.
    fn fill(&mut self) {
        while self.live_bytes() + self.next_bytes <= self.plan.quota_bytes {
            if self.store().is_err() {
                thread::sleep(self.back_off());
                return;
            }
        }
    }

    fn store(&mut self) -> Result<(), Cause> {
        let (key, bytes) = (self.next_key, self.next_bytes);
        self.next_key += 1;
        let url = format!("{}/objects/{key}", self.url);
        self.request(|agent| agent.post(url).send(&content(key, bytes)[..]))?;
        let expiry = self.after(Plan::lifetime);
        self.objects.insert((expiry, key), Object { key, bytes });
        self.next_bytes = self.plan.object_bytes();
        self.tell_live();
        Ok(())
    }

    /// Reads some object, and compares.
    fn read(&mut self) {
        if self.objects.is_empty() {
            return;
        }
        let chosen = self.plan.below(self.objects.len());
        let Some(object) = self.objects.values().nth(chosen) else { return };
        let (key, bytes) = (object.key, object.bytes);
        let url = format!("{}/objects/{key}", self.url);
        if let Ok(body) = self.request(|agent| agent.get(url).call())
            && body != content(key, bytes)
        {
            eprintln!("fleet: instance {}: object {key} is not what was stored", self.id);
            self.known.failed(Cause::Other);
        }
    }

    /// Reads some object, then deletes the one whose time is up; another takes its place.
    fn replace_oldest(&mut self) {
        self.read();
        let Some((_, object)) = self.objects.pop_first() else { return };
        let url = format!("{}/objects/{}", self.url, object.key);
        let outcome = self.request(|agent| agent.delete(url).call());
        if let Err(Cause::Unresponsive | Cause::Unreachable) = outcome {
            // The instance may still have the object; it is asked again.
            let again = Instant::now() + self.back_off();
            self.objects.insert((again, object.key), object);
        }
        self.tell_live();
    }

    fn live_bytes(&self) -> u64 {
        self.objects.values().map(|object| object.bytes).sum()
    }

    fn tell_live(&self) {
        self.known.live_bytes.store(self.live_bytes(), Ordering::Relaxed);
    }

    fn leak(&mut self) {
        let bytes = self.plan.leak_bytes();
        let url = format!("{}/leak?bytes={bytes}", self.url);
        if self.request(|agent| agent.post(url).send_empty()).is_ok() {
            self.known.leaked_bytes.fetch_add(bytes.into(), Ordering::Relaxed);
        }
    }

    /// Sends a request and returns the response's body, or counts why there is none.
    fn request(
        &mut self,
        send: impl FnOnce(&ureq::Agent) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Vec<u8>, Cause> {
        let outcome = send(&self.agent).and_then(|mut response| {
            let body = response.body_mut().with_config().limit(1 << 26).read_to_vec()?;
            Ok((response, body))
        });
        let outcome = match outcome {
            Err(ureq::Error::Timeout(_)) => Err(Cause::Unresponsive),
            Err(_) => Err(Cause::Unreachable),
            Ok((response, body)) => {
                self.meet(header(&response, INCARNATION_HEADER).and_then(|text| text.parse().ok()));
                match header(&response, CAUSE_HEADER).and_then(Cause::from_name) {
                    Some(cause) => Err(cause),
                    None if response.status().is_success() => Ok(body),
                    None => Err(Cause::Other),
                }
            }
        };
        match outcome {
            Ok(_) => self.known.succeeded(),
            Err(cause) => self.known.failed(cause),
        }
        outcome
    }

    /// Notices a new incarnation: what the last one held is gone, and is stored anew.
    fn meet(&mut self, incarnation: Option<u64>) {
        if incarnation.is_none() || incarnation == self.incarnation {
            return;
        }
        if self.incarnation.is_some() {
            self.known.objects_lost.fetch_add(self.objects.len() as u64, Ordering::Relaxed);
            self.objects.clear();
            self.tell_live();
            self.known.leaked_bytes.store(0, Ordering::Relaxed);
        }
        self.incarnation = incarnation;
    }
}

fn header<'a>(response: &'a ureq::http::Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// What is stored under a key: every page of it is written, and it tells the key.
fn content(key: u64, bytes: u64) -> Vec<u8> {
    let mut content = vec![(key % 251) as u8; bytes as usize];
    let prefix = content.len().min(8);
    content[..prefix].copy_from_slice(&key.to_le_bytes()[..prefix]);
    content
}
