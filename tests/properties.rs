//! Whatever is asked for, in whatever order and by whichever thread, blocks are aligned, distinct
//! and keep their contents, and every structure of the heap stays sound.
//!
//! Requests are values, so that a failure shrinks to the shortest list of them that fails.

mod common;
#[path = "common/model.rs"]
mod model;

use std::alloc::{GlobalAlloc as _, Layout};
use std::sync::{Arc, Mutex};

use capmalloc::CapMalloc;
use common::worker::Worker;
use model::{Action, Model};
use proptest::collection::vec;
use proptest::prelude::*;

#[global_allocator]
static GLOBAL: CapMalloc = CapMalloc::new();

/// Threads that the requests of one list are spread over.
const WORKERS: usize = 3;

fn settings() -> ProptestConfig {
    if let Some(limit_bytes) = common::address_space::limit_bytes() {
        println!("note: blocks take an eighth of the {limit_bytes} bytes that may be mapped");
    }
    // The shortest failing list is printed, and belongs in a test with a name of its own.
    ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn blocks_keep_their_contents_through_any_requests(actions in vec(Action::any(), 1..150)) {
        let mut model = Model::new();
        for action in &actions {
            model.apply(action);
        }
        capmalloc::check();
        model.release_all();
        capmalloc::check();
    }

    #[test]
    fn it_does_not_matter_which_thread_asks(steps in vec(Step::any(), 1..150)) {
        let model = Arc::new(Mutex::new(Model::new()));
        let mut workers: [Option<Worker>; WORKERS] = std::array::from_fn(|_| None);
        for step in steps {
            match step {
                Step::Apply { worker, action } => {
                    let (worker, model) = (&mut workers[worker], Arc::clone(&model));
                    let apply = move || model.lock().expect("nobody panicked").apply(&action);
                    worker.get_or_insert_with(Worker::start).run(apply);
                }
                Step::End { worker } => workers[worker].take().into_iter().for_each(Worker::end),
            }
        }
        capmalloc::check();
        model.lock().expect("no worker panicked").release_all();
        workers.into_iter().flatten().for_each(Worker::end);
        capmalloc::check();
    }
}

/// One request, and the thread that makes it.
#[derive(Clone, Debug)]
enum Step {
    Apply {
        worker: usize,
        action: Action,
    },
    /// The thread ends, and a new one takes its place when it is next needed.
    End {
        worker: usize,
    },
}

impl Step {
    fn any() -> impl Strategy<Value = Step> {
        let apply = |(worker, action)| Step::Apply { worker, action };
        prop_oneof![
            12 => (0..WORKERS, Action::any()).prop_map(apply),
            1 => (0..WORKERS).prop_map(|worker| Step::End { worker }),
        ]
    }
}

#[test]
fn sizes_near_the_largest_are_refused_and_nothing_is_lost() {
    let block = Layout::from_size_align(100, 8).expect("a layout");
    // SAFETY: the layout is valid and the block is given back below with it.
    let pointer = unsafe { GLOBAL.alloc(block) };
    for shift in 0..=40 {
        let align = 1_usize << shift;
        let size = isize::MAX as usize + 1 - align;
        let layout = Layout::from_size_align(size, align).expect("the largest of this alignment");
        // SAFETY: the layouts are valid, and what is refused is not given back; a refused
        // `realloc` leaves the block as it was.
        unsafe {
            assert!(GLOBAL.alloc(layout).is_null(), "{layout:?}");
            assert!(GLOBAL.alloc_zeroed(layout).is_null(), "{layout:?} zeroed");
            assert!(GLOBAL.realloc(pointer, block, isize::MAX as usize - 7).is_null());
        }
    }
    // SAFETY: allocated above with this layout.
    unsafe { GLOBAL.dealloc(pointer, block) };
    capmalloc::check();
}

#[test]
fn blocks_of_size_zero_are_aligned_and_can_be_given_back() {
    for shift in 0..=22 {
        let layout = Layout::from_size_align(0, 1 << shift).expect("a layout");
        // SAFETY: this allocator serves size zero, whatever the trait says of others; the blocks
        // are given back with the layout they came with.
        unsafe {
            let (one, other) = (GLOBAL.alloc(layout), GLOBAL.alloc(layout));
            assert!(!one.is_null() && !other.is_null() && one != other, "{layout:?}");
            assert_eq!((one.addr() | other.addr()) % layout.align(), 0, "{layout:?}");
            GLOBAL.dealloc(one, layout);
            GLOBAL.dealloc(other, layout);
        }
    }
    capmalloc::check();
}

#[test]
fn ordinary_collections_live_on_it() {
    let mut words: Vec<String> = (0..10_000_u32).map(|number| format!("{number:o}")).collect();
    words.sort();
    let lengths: std::collections::BTreeMap<_, _> =
        words.iter().map(|word| (word.as_str(), word.len())).collect();
    assert_eq!(lengths.len(), 10_000);
    assert!(words.iter().all(|word| lengths[word.as_str()] == word.len()));
    assert!(capmalloc::stats().allocated_bytes >= 10_000 * size_of::<String>());
}
