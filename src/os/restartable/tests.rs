//! Stacks of processors, with numbers for pointers.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;

/// Stacks of processors with room for so many pointers each, two to a processor.
const ROOM: usize = 100;

#[repr(C)]
struct Two {
    first: Stack,
    second: Stack,
    storage: [[*mut u8; ROOM]; 2],
}

const SECOND: usize = core::mem::offset_of!(Two, second);

struct World {
    shown: Shown,
    places: Box<Places>,
    /// Held by who shows or hides the table.
    change: std::sync::Mutex<()>,
}

// SAFETY: the table is used as the sequences use it, and else under the lock.
unsafe impl Sync for World {}

impl World {
    /// A table in which the first `processors` processors have stacks.
    fn new(processors: usize) -> World {
        // SAFETY: zeros are an empty table.
        let mut places: Box<Places> = unsafe { Box::new_zeroed().assume_init() };
        places.open();
        for processor in 0..processors {
            // SAFETY: zeros are null pointers.
            let two: &'static mut Two = Box::leak(unsafe { Box::new_zeroed().assume_init() });
            let (first, second) = two.storage.split_at_mut(1);
            two.first.set_storage(NonNull::from(&mut first[0][0]));
            two.second.set_storage(NonNull::from(&mut second[0][0]));
            // SAFETY: each has so much room.
            unsafe {
                two.first.set_capacity(ROOM);
                two.second.set_capacity(ROOM);
            }
            let place = places.of(processor).expect("few processors");
            place.store(core::ptr::from_mut(two).cast(), SeqCst);
        }
        let world = World { shown: Shown::default(), places, change: std::sync::Mutex::new(()) };
        world.show();
        world
    }

    fn show(&self) {
        self.shown.store(core::ptr::from_ref(&*self.places).cast_mut(), SeqCst);
    }

    fn hide(&self) {
        self.shown.store(core::ptr::null_mut(), SeqCst);
    }

    fn push(&self, numbers: &[usize]) -> usize {
        let pointers: Vec<_> = numbers.iter().map(|number| pointer(*number)).collect();
        // SAFETY: the stacks lie there, and `take_all` hides the table and makes a fence.
        unsafe { push(&self.shown, SECOND, &pointers) }
    }

    fn pop(&self, most: usize) -> Vec<usize> {
        let mut pointers = vec![core::ptr::null_mut(); most];
        // SAFETY: as in `push`.
        let count = unsafe { pop(&self.shown, SECOND, &mut pointers) };
        pointers[..count].iter().map(|pointer: &*mut u8| pointer.addr()).collect()
    }

    /// All that is in the stacks, taken while threads are at work.
    fn take_all(&self) -> Vec<usize> {
        let _change = self.change.lock().unwrap();
        self.hide();
        assert!(fence());
        let mut all = Vec::new();
        for two in self.places.iter() {
            // SAFETY: places hold a `Two`, and after the fence no sequence is under way on it.
            let taken = unsafe {
                let stack = &two.cast::<Two>().as_ref().second;
                stack.forgotten(stack.clear())
            };
            all.extend(taken.iter().map(|pointer| pointer.addr()));
        }
        self.show();
        all
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for two in self.places.iter() {
            // SAFETY: made by `Box::leak`, and used by nobody else any more.
            drop(unsafe { Box::from_raw(two.cast::<Two>().as_ptr()) });
        }
    }
}

fn pointer(number: usize) -> *mut u8 {
    core::ptr::without_provenance_mut(number)
}

/// Whether there are such stacks here; under an emulator, or with an older C library, there are none.
fn is_here() -> bool {
    let answers = (is_available(), fence(), processor().is_some());
    assert!(answers == (true, true, true) || answers == (false, false, false), "{answers:?}");
    answers.0
}

#[test]
fn what_came_last_goes_first_and_no_more_comes_than_there_is_room_for() {
    let Some(()) = stay_here() else { return };
    let world = World::new(PLACES);
    assert_eq!(world.pop(3), []);
    assert_eq!((world.push(&[8, 16, 24]), world.push(&[32])), (3, 1));
    assert_eq!(world.pop(2), [32, 24]);
    assert_eq!(world.pop(3), [16, 8]);
    let many: Vec<_> = (1..=ROOM + 5).collect();
    assert_eq!((world.push(&many), world.push(&[1])), (ROOM, 0));
    let two = world.places.iter().find_map(|two| {
        // SAFETY: places hold a `Two`.
        let two = unsafe { two.cast::<Two>().as_ref() };
        (two.second.len() > 0).then_some(two)
    });
    let two = two.expect("the processor's stacks");
    assert_eq!((two.first.len(), two.second.len(), two.second.capacity()), (0, ROOM, ROOM));
    let mut seen = Vec::new();
    two.second.for_each(|pointer| seen.push(pointer.addr()));
    assert_eq!(seen, many[..ROOM]);
    assert_eq!(world.take_all(), many[..ROOM]);
    assert_eq!((world.pop(1), world.push(&[])), (vec![], 0));
}

#[test]
fn a_bound_holds_from_the_next_push_on() {
    let Some(()) = stay_here() else { return };
    let world = World::new(PLACES);
    for two in world.places.iter() {
        // SAFETY: places hold a `Two`, whose stacks are empty and have room for more.
        unsafe { two.cast::<Two>().as_ref().second.set_capacity(2) };
    }
    assert_eq!(world.push(&[8, 16, 24]), 2);
    for two in world.places.iter() {
        // SAFETY: as above, but for one stack, which holds no more than it has room for.
        unsafe { two.cast::<Two>().as_ref().second.set_capacity(3) };
    }
    assert_eq!((world.push(&[24, 32]), world.pop(9)), (1, vec![24, 16, 8]));
}

#[test]
fn who_finds_no_table_or_no_stacks_of_his_own_finds_nothing() {
    let world = World::new(0);
    assert_eq!((world.push(&[8]), world.pop(1)), (0, vec![]));
    world.hide();
    assert_eq!((world.push(&[8]), world.pop(1)), (0, vec![]));
}

/// Threads more than processors pass numbers on, while one takes all that lies there now and then.
#[test]
fn nothing_is_lost_or_doubled_between_threads_that_come_between_each_other() {
    if !is_here() {
        return;
    }
    const THREADS: usize = 16;
    const EACH: usize = 50;
    let rounds = if cfg!(debug_assertions) { 150_000 } else { 400_000 };
    let world = World::new(PLACES);
    let (is_over, drained) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Little else than sequences, so that a thread that is interrupted mostly is so within one.
    let work = |thread: usize| {
        let mut held = [core::ptr::null_mut(); THREADS * EACH];
        let mut len = EACH;
        (0..EACH).for_each(|index| held[index] = pointer(thread * EACH + index + 1));
        for round in 0..rounds {
            let from = len.saturating_sub(1 + round % 37);
            // SAFETY: the stacks lie there, and `take_all` hides the table and makes a fence.
            unsafe {
                let pushed = push(&world.shown, SECOND, &held[from..len]);
                held.copy_within(from + pushed..len, from);
                len -= pushed;
                let room = &mut held[len..];
                let most = room.len().min(1 + round % 31);
                len += pop(&world.shown, SECOND, &mut room[..most]);
            }
        }
        held[..len].iter().map(|pointer: &*mut u8| pointer.addr()).collect::<Vec<_>>()
    };
    let mut all: Vec<usize> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        let drainer = scope.spawn(|| {
            let mut held = Vec::new();
            while !is_over.load(SeqCst) {
                held.extend(world.take_all());
                drained.fetch_add(1, SeqCst);
                std::thread::sleep(std::time::Duration::from_micros(200));
                // Some go back, so that there is something to pass on.
                let kept = held.len() / 2;
                let pushed = world.push(&held[kept..]);
                held.drain(kept..kept + pushed);
            }
            held
        });
        let mut all: Vec<_> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        is_over.store(true, SeqCst);
        all.extend(drainer.join().unwrap());
        all
    });
    all.extend(world.take_all());
    all.sort_unstable();
    assert!(all == Vec::from_iter(1..=THREADS * EACH), "each number once, of {}", all.len());
    assert!(drained.load(SeqCst) > 0);
}
