//! A thousand threads that served a few requests each and now wait for the next.

use std::ops::RangeInclusive;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::fragmentation::block::{Block, Fill};
use crate::fragmentation::meter::Meter;
use crate::fragmentation::stage::Stage;
use crate::random::Random;

const SIZES: RangeInclusive<usize> = 16..=32 << 10;
const SMALL_MAX_BYTES: usize = 1 << 10;
const ROUNDS: usize = 20;
const BLOCKS_PER_ROUND: usize = 200;
const KEPT_PER_ROUND: usize = 4;

/// Where the rounds of all threads are mixed in time, each waits up to so long between two.
const PAUSE_MAX_MICROSECONDS: usize = 20_000;

/// What the threads share with the main one.
struct Connections {
    /// What each of them keeps.
    kept: Vec<Mutex<Vec<Block>>>,
    meter: Arc<Meter>,
    /// Met when all have served, when all are to wake, and when all have served again.
    meeting: Barrier,
}

/// Each thread serves its requests one after the other.
pub(crate) fn idle_connections(stage: &Stage) {
    connect(stage, false);
}

/// Each thread waits between its requests, while others serve theirs.
pub(crate) fn mixed_connections(stage: &Stage) {
    connect(stage, true);
}

fn connect(stage: &Stage, is_mixed: bool) {
    let threads = stage.scaled(1000, 250, 20);
    let connections = Arc::new(Connections {
        kept: (0..threads).map(|_| Mutex::default()).collect(),
        meter: stage.meter(),
        meeting: Barrier::new(threads + 1),
    });
    let shared = Arc::clone(&connections);
    let herd = stage.start_herd(threads, move |number| live(number, &shared, is_mixed));
    connections.meeting.wait();
    stage.rest(
        Some(&herd),
        Some(&|show| {
            for kept in &connections.kept {
                kept.lock().expect("nobody panicked").iter().for_each(&mut *show);
            }
        }),
    );
    connections.meeting.wait();
    herd.join();
}

fn live(number: usize, connections: &Connections, is_mixed: bool) {
    let mut random = Random::new(number as u64);
    for _ in 0..ROUNDS {
        connections.meter.time(|| serve(&mut random, &connections.kept[number]));
        if is_mixed {
            let pause = random.below(PAUSE_MAX_MICROSECONDS);
            sleep(Duration::from_micros(pause as u64));
        }
    }
    connections.meeting.wait();
    connections.meeting.wait();
    serve(&mut random, &connections.kept[number]);
    let kept = core::mem::take(&mut *connections.kept[number].lock().expect("nobody panicked"));
    kept.iter().for_each(|block| block.check(Fill::Whole));
}

/// One request: blocks of all sizes, of which the first few small ones are kept.
fn serve(random: &mut Random, kept: &Mutex<Vec<Block>>) {
    let mut blocks = Vec::new();
    for _ in 0..BLOCKS_PER_ROUND {
        let size = random.log_uniform(&SIZES);
        blocks.push(Block::new(size, Fill::Pages, random));
    }
    let mut kept = kept.lock().expect("nobody panicked");
    let kept_after = kept.len() + KEPT_PER_ROUND;
    for mut block in blocks {
        block.check(Fill::Pages);
        if block.size() <= SMALL_MAX_BYTES && kept.len() < kept_after {
            block.fill();
            kept.push(block);
        }
    }
}
