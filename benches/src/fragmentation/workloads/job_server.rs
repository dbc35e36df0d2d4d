//! A server whose threads mostly wait for another one's answer, as many services do.

use std::ops::RangeInclusive;
use std::sync::{Arc, Barrier};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::shards::{Shards, Weighed};
use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::meter::Meter;
use crate::fragmentation::stage::Stage;
use crate::random::Random;

/// What a processor can serve in about half of its time.
const REQUESTS_PER_SECOND_AND_CPU: usize = 1500;

/// What a thread can serve at most, with its waits, and still be free most of the time.
const REQUESTS_PER_SECOND_AND_THREAD: usize = 120;

/// A request as a parser leaves it: many small values, some texts, a few long ones.
const VALUES: (usize, RangeInclusive<usize>) = (320, 16..=256);
const TEXTS: (usize, RangeInclusive<usize>) = (24, 256..=4 << 10);
const LONG_TEXTS: (usize, RangeInclusive<usize>) = (3, 4 << 10..=32 << 10);

/// A response is built in a buffer that doubles.
const RESPONSE_FIRST_BYTES: usize = 1 << 10;
const RESPONSE_SIZES: RangeInclusive<usize> = 2 << 10..=200 << 10;

/// What the cache keeps of a request: one text and some values.
const DOCUMENT_TEXTS: RangeInclusive<usize> = 256..=16 << 10;
const DOCUMENT_VALUES: usize = 12;
const CACHE_BYTES: usize = 16 << 20;

/// How long the other service takes.
const WAIT_MEDIAN_MILLISECONDS: f64 = 4.0;
const WAIT_DEVIATION: f64 = 0.8;
const WAIT_MILLISECONDS: (f64, f64) = (1.0, 20.0);

struct Document {
    blocks: Vec<Block>,
}

impl Weighed for Document {
    fn bytes(&self) -> usize {
        self.blocks.iter().map(Block::size).sum()
    }
}

struct Server {
    pace: Pace,
    meter: Arc<Meter>,
    cache: Shards<Document>,
    /// Met when all requests were served, and when all may go.
    meeting: Barrier,
}

pub(crate) fn job_server(stage: &Stage, threads: usize) {
    let cpus = available_parallelism().map_or(1, usize::from);
    let per_second =
        (cpus * REQUESTS_PER_SECOND_AND_CPU).min(threads * REQUESTS_PER_SECOND_AND_THREAD);
    let requests = stage.scaled(12 * per_second, per_second * 7 / 10, 100);
    let server = Arc::new(Server {
        pace: Pace::new(requests, per_second),
        meter: stage.meter(),
        cache: Shards::new(),
        meeting: Barrier::new(threads + 1),
    });
    let shared = Arc::clone(&server);
    let herd = stage.start_herd(threads, move |number| shared.work(number));
    server.meeting.wait();
    stage.rest(
        Some(&herd),
        Some(&|show| server.cache.for_each(|document| document.blocks.iter().for_each(&mut *show))),
    );
    server.meeting.wait();
    herd.join();
}

impl Server {
    fn work(&self, number: usize) {
        let mut random = Random::new(number as u64);
        while self.pace.next().is_some() {
            let service_time = self.serve(&mut random);
            self.meter.record(service_time);
        }
        self.meeting.wait();
        self.meeting.wait();
    }

    /// Serves a request, and answers how long that took without the wait.
    fn serve(&self, random: &mut Random) -> Duration {
        let begun = Instant::now();
        let request = parse(random);
        let parsing_time = begun.elapsed();
        sleep(wait(random));
        let begun = Instant::now();
        self.cache.with_random(random, |document| document.blocks[0].check(Fill::Whole));
        let response = respond(random);
        self.cache.add(document(random), random);
        while self.cache.bytes() > CACHE_BYTES {
            // A shard that was chosen may be empty.
            drop(self.cache.take_random(random));
        }
        request.iter().for_each(|block| block.check(Fill::Whole));
        response.check(Fill::Pages);
        drop((request, response));
        parsing_time + begun.elapsed()
    }
}

fn parse(random: &mut Random) -> Vec<Block> {
    let mut request = Vec::new();
    for (count, sizes) in [&VALUES, &TEXTS, &LONG_TEXTS] {
        for _ in 0..*count {
            let size = random.log_uniform(sizes);
            request.push(Block::new(size, Fill::Whole, random));
            // What a parser needs for a moment.
            drop(Block::new(size / 2 + 1, Fill::Pages, random));
        }
    }
    request
}

fn respond(random: &mut Random) -> Block {
    let size = random.log_uniform(&RESPONSE_SIZES);
    let mut response = Block::new(RESPONSE_FIRST_BYTES, Fill::Whole, random);
    while response.size() < size {
        response.grow((response.size() * 2).min(size));
    }
    response
}

fn document(random: &mut Random) -> Document {
    let text = random.log_uniform(&DOCUMENT_TEXTS);
    let mut blocks = vec![Block::new(text, Fill::Whole, random)];
    for _ in 0..DOCUMENT_VALUES {
        let size = random.log_uniform(&VALUES.1);
        blocks.push(Block::new(size, Fill::Whole, random));
    }
    Document { blocks }
}

/// A time whose logarithm has a normal distribution, as those of services often have.
fn wait(random: &mut Random) -> Duration {
    let mut fraction = || (random.bits() >> 11) as f64 / (1_u64 << 53) as f64;
    // Box and Muller's way to a normal distribution; one less the fraction is never zero.
    let normal =
        (-2.0 * (1.0 - fraction()).ln()).sqrt() * (std::f64::consts::TAU * fraction()).cos();
    let milliseconds = WAIT_MEDIAN_MILLISECONDS * (WAIT_DEVIATION * normal).exp();
    let (least, most) = WAIT_MILLISECONDS;
    Duration::from_secs_f64(milliseconds.clamp(least, most) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_lie_around_their_median_and_within_bounds() {
        let mut random = Random::new(1);
        let mut waits: Vec<Duration> = (0..10_001).map(|_| wait(&mut random)).collect();
        waits.sort();
        assert_eq!(waits[0], Duration::from_millis(1));
        assert_eq!(waits[10_000], Duration::from_millis(20));
        let median = waits[5000].as_secs_f64() * 1000.0;
        assert!((median / WAIT_MEDIAN_MILLISECONDS - 1.0).abs() < 0.05, "{median}");
    }

    #[test]
    fn a_response_is_as_long_as_it_is_to_be() {
        let (mut random, mut same) = (Random::new(2), Random::new(2));
        for _ in 0..20 {
            let size = same.log_uniform(&RESPONSE_SIZES);
            let response = respond(&mut random);
            same.bits();
            assert_eq!(response.size(), size);
            response.check(Fill::Whole);
        }
    }
}
