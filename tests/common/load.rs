//! Loads of many threads, the same as `cargo bench --bench fragmentation` measures.

use std::ops::RangeInclusive;
use std::sync::{Arc, Barrier, Mutex};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::block::Block;
use super::herd::Herd;

const KIB: usize = 1 << 10;

/// A size of which every doubling gets the same share.
pub(crate) fn size(random: &mut SmallRng, sizes: &RangeInclusive<usize>) -> usize {
    let (low, high) = ((*sizes.start() as f64).ln(), (*sizes.end() as f64).ln());
    (random.random_range(low..=high).exp() as usize).clamp(*sizes.start(), *sizes.end())
}

/// Threads that served a few requests each, kept a little of each, and sleep.
pub(crate) struct Connections {
    herd: Herd,
    shared: Arc<Shared>,
}

struct Shared {
    kept: Vec<Mutex<Vec<Block>>>,
    /// Met when all have served, and when all wake.
    meeting: Barrier,
    /// Had by those who serve, where they do so one after the other.
    turn: Option<Mutex<()>>,
}

impl Connections {
    const ROUNDS: usize = 20;
    const BLOCKS: usize = 200;
    const KEPT: usize = 4;
    const SIZES: RangeInclusive<usize> = 16..=32 * KIB;

    /// Answers when all threads sleep.
    pub(crate) fn asleep(threads: usize) -> Connections {
        Connections::asleep_after(threads, None)
    }

    /// The same where no two serve at the same time, so that what lives at a time is the load's to
    /// say and not the scheduler's.
    pub(crate) fn asleep_after_turns(threads: usize) -> Connections {
        Connections::asleep_after(threads, Some(Mutex::default()))
    }

    fn asleep_after(threads: usize, turn: Option<Mutex<()>>) -> Connections {
        let kept = (0..threads).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { kept, meeting: Barrier::new(threads + 1), turn });
        let of_threads = Arc::clone(&shared);
        let herd = Herd::start(threads, move |number| {
            let (mut random, kept) = (SmallRng::seed_from_u64(number as u64), &of_threads.kept);
            for _ in 0..Self::ROUNDS {
                let turn = of_threads.turn.as_ref();
                let _turn = turn.map(|turn| turn.lock().expect("nobody panicked"));
                Self::serve(&mut random, &kept[number]);
            }
            of_threads.meeting.wait();
            of_threads.meeting.wait();
            Self::serve(&mut random, &kept[number]);
            let kept = core::mem::take(&mut *kept[number].lock().expect("nobody panicked"));
            kept.into_iter().for_each(Block::release);
        });
        shared.meeting.wait();
        Connections { herd, shared }
    }

    /// One request: its first few small blocks are kept, the others are buffers of the moment.
    fn serve(random: &mut SmallRng, kept: &Mutex<Vec<Block>>) {
        let mut kept = kept.lock().expect("nobody panicked");
        let enough = kept.len() + Self::KEPT;
        let mut buffers: Vec<Vec<u8>> = Vec::new();
        for index in 0..Self::BLOCKS {
            let size = size(random, &Self::SIZES);
            match kept.len() < enough && size <= KIB {
                true => kept.push(Block::of_size(size)),
                false => buffers.push(vec![index as u8; size]),
            }
        }
        let is_whole = |buffer: &Vec<u8>| buffer.first() == buffer.last();
        assert!(buffers.iter().all(is_whole), "a buffer was overwritten");
    }

    pub(crate) fn stack_bytes(&self) -> usize {
        self.herd.stack_bytes()
    }

    /// Has all threads wake, work, and check every byte that they kept.
    pub(crate) fn wake(self) {
        self.shared.meeting.wait();
        self.herd.join();
    }
}

/// Threads that had much to do, and now have nothing.
pub(crate) struct Workers {
    herd: Herd,
    /// Met when all are done, and when all may go.
    meeting: Arc<Barrier>,
}

impl Workers {
    pub(crate) const COUNT: usize = 64;
    const BLOCKS: usize = 4000;
    const SIZES: RangeInclusive<usize> = 16..=16 * KIB;

    /// Rounds of a thread: fewer where every one of them takes long.
    const ROUNDS: usize = if cfg!(debug_assertions) { 4 } else { 20 };

    pub(crate) fn start() -> Workers {
        let meeting = Arc::new(Barrier::new(Self::COUNT + 1));
        let of_threads = Arc::clone(&meeting);
        let herd = Herd::start(Self::COUNT, move |number| {
            let mut random = SmallRng::seed_from_u64(number as u64);
            for _ in 0..Self::ROUNDS {
                let new = |_| Block::of_size(size(&mut random, &Self::SIZES));
                let blocks: Vec<Block> = (0..Self::BLOCKS).map(new).collect();
                blocks.into_iter().for_each(Block::release);
            }
            of_threads.wait();
            of_threads.wait();
        });
        Workers { herd, meeting }
    }

    /// Waits until all are idle; answers what their stacks hold.
    pub(crate) fn idle_stack_bytes(&self) -> usize {
        self.meeting.wait();
        self.herd.stack_bytes()
    }

    /// Lets the idle threads go.
    pub(crate) fn end(self) {
        self.meeting.wait();
        self.herd.join();
    }
}
