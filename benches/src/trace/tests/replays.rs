//! Traces replayed on an allocator that looks at what it gets back.

use super::*;

/// An allocator that looks at what it gets back, and refuses more than it is allowed.
pub(super) struct Checked {
    pub(super) allocated: AtomicUsize,
    pub(super) resized: AtomicUsize,
    pub(super) freed: AtomicUsize,
    pub(super) live_bytes: AtomicIsize,
    pub(super) peak_live_bytes: AtomicIsize,
    /// How many more blocks it gives.
    pub(super) allowed: AtomicIsize,
}

impl Default for Checked {
    fn default() -> Self {
        Self {
            allocated: AtomicUsize::new(0),
            resized: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
            live_bytes: AtomicIsize::new(0),
            peak_live_bytes: AtomicIsize::new(0),
            allowed: AtomicIsize::new(isize::MAX),
        }
    }
}

impl Checked {
    fn is_allowed(&self) -> bool {
        self.allowed.fetch_sub(1, SeqCst) > 0
    }

    /// Whether a block holds what the replay wrote to it.
    fn check(&self, pointer: *mut u8, size: usize) {
        // SAFETY: The replay gives back live blocks, of which it has written all of the beginning.
        let bytes = unsafe { std::slice::from_raw_parts(pointer, size.min(WRITTEN_BYTES)) };
        assert!(bytes.iter().all(|&byte| byte == bytes[0]), "a block of {size} bytes lost some");
    }
}

// SAFETY: The functions are those of the system's allocator, or give nothing.
unsafe impl ReplayTarget for Checked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.is_allowed() {
            return null_mut();
        }
        self.allocated.fetch_add(1, SeqCst);
        // SAFETY: The caller's promise is the one that is asked for.
        let pointer = unsafe { System.alloc(layout) };
        // SAFETY: The block has as many bytes. Not the byte that is expected of most blocks.
        unsafe { pointer.write_bytes(0xEE, layout.size()) };
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.is_allowed() {
            return null_mut();
        }
        self.allocated.fetch_add(1, SeqCst);
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.freed.fetch_add(1, SeqCst);
        self.check(pointer, layout.size());
        // SAFETY: The block is live. A second free of it would find its bytes unlike each other.
        unsafe {
            pointer.write_bytes(0xDD, layout.size());
            System.dealloc(pointer, layout);
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.check(pointer, layout.size());
        if !self.is_allowed() {
            return null_mut();
        }
        self.resized.fetch_add(1, SeqCst);
        // SAFETY: The caller's promise is the one that is asked for.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    fn live_bytes_changed(&self, change_bytes: isize) {
        let live_bytes = self.live_bytes.fetch_add(change_bytes, SeqCst) + change_bytes;
        self.peak_live_bytes.fetch_max(live_bytes, SeqCst);
    }
}

#[test]
fn every_refusal_ends_the_replay_and_leaves_nothing() {
    // Blocks go around between three threads, so that whichever stops, others wait for it.
    let mut events = Vec::new();
    for round in 0..40 {
        events.push(allocate(round as u16 % 3, 100 + round));
        events.push(reallocate((round as u16 + 1) % 3, round, 5000));
        events.push(free((round as u16 + 2) % 3, round));
    }
    let plan = Plan::new(&trace(3, &events)).expect("room");
    for allowed in 0..80 {
        let target = Checked { allowed: AtomicIsize::new(allowed), ..Checked::default() };
        let error = replay_plan(&plan, &target, 2).expect_err("a refusal");
        assert!(matches!(error, TraceError::Refused { .. }), "{error}");
        assert_eq!(target.allocated.load(SeqCst), target.freed.load(SeqCst));
        assert_eq!(target.live_bytes.load(SeqCst), 0);
    }
    replay_plan(&plan, &Checked::default(), 3).expect("all is allowed");
}

#[test]
fn a_producer_does_not_run_away_from_its_consumer() {
    // One thread allocates and another frees, in turn: at most one block was live at a time.
    const SIZE_BYTES: u32 = 2048;
    let blocks = 8 * SLICE_EVENTS as u32;
    let events: Vec<Event> =
        (0..blocks).flat_map(|block| [allocate(0, SIZE_BYTES), free(1, block)]).collect();
    let target = Checked::default();
    replay(&trace(2, &events), &target).expect("memory");
    // Two slices, half of whose events allocate, and what the threads have not yet told.
    let bound = SLICE_EVENTS as isize * SIZE_BYTES as isize + 4 * replay::REPORTED_BYTES;
    let peak = target.peak_live_bytes.load(SeqCst);
    assert!(peak <= bound, "{peak} bytes were live");
    assert_eq!(target.live_bytes.load(SeqCst), 0);
}

#[test]
fn the_global_allocator_is_counted_while_it_is_used() {
    let live_bytes = AtomicUsize::new(5);
    let events = [allocate(0, 1 << 20), allocate(1, 70_000), reallocate(0, 1, 10), free(1, 0)];
    let plan = Plan::new(&trace(2, &events)).expect("room");
    let summary = run_plan(&plan, 3, &live_bytes).expect("memory");
    assert_eq!(live_bytes.load(Relaxed), 5);
    assert_eq!((summary.events, summary.blocks, summary.threads, summary.loops), (4, 2, 2, 3));
    assert_eq!(summary.peak_live_bytes, (1 << 20) + 70_000);
    assert_eq!(summary.description, "made by a test");
    assert!(summary.table_bytes >= 4 * 12);
}
