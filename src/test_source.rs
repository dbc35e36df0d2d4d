//! A page source for tests: it fails on demand, and knows what it still has out.

use core::ptr::NonNull;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::page_source::PageSource;

/// Memory from the system allocator, with a limit on how often it answers.
#[derive(Debug)]
pub(crate) struct TestSource {
    /// Calls that may still succeed.
    calls_left: AtomicUsize,
    /// What is mapped: address to bytes and alignment.
    mapped: Mutex<BTreeMap<usize, Layout>>,
}

impl TestSource {
    pub(crate) fn new() -> Self {
        Self::failing_after(usize::MAX)
    }

    /// A source that answers `calls` times and then refuses.
    pub(crate) fn failing_after(calls: usize) -> Self {
        TestSource { calls_left: AtomicUsize::new(calls), mapped: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn set_calls_left(&self, calls: usize) {
        self.calls_left.store(calls, SeqCst);
    }

    pub(crate) fn calls_left(&self) -> usize {
        self.calls_left.load(SeqCst)
    }

    /// Bytes mapped and not given back.
    pub(crate) fn outstanding_bytes(&self) -> usize {
        self.mapped.lock().unwrap().values().map(Layout::size).sum()
    }

    fn may_answer(&self) -> bool {
        self.calls_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

// SAFETY: the system allocator's zeroed memory of the layout asked for is nobody else's.
unsafe impl PageSource for TestSource {
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !self.may_answer() {
            return None;
        }
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: no caller maps zero bytes.
        let base = NonNull::new(unsafe { System.alloc_zeroed(layout) })?;
        self.mapped.lock().unwrap().insert(base.addr().get(), layout);
        Some(base)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        let layout = self.mapped.lock().unwrap().remove(&base.addr().get()).expect("mapped");
        assert_eq!(layout.size(), bytes, "unmapped whole");
        // SAFETY: allocated in `map` with this layout; the caller gives it up.
        unsafe { System.dealloc(base.as_ptr(), layout) };
    }

    unsafe fn purge(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller promises that nothing in the range is wanted.
        unsafe { base.write_bytes(0, bytes) };
        true
    }
}

impl Drop for TestSource {
    fn drop(&mut self) {
        // A heap that forgot a mapping is a leak: it must not pass as a green test.
        let left = self.mapped.get_mut().unwrap();
        assert!(std::thread::panicking() || left.is_empty(), "{} mappings leaked", left.len());
    }
}
