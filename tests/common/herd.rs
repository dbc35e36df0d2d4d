//! Many threads on stacks of one mapping, so that what the stacks hold can be told from the heap.
//!
//! They are made by the C library, not by the standard library, which would give each of them a
//! handle, a name and a signal stack: what is resident is then the stacks and what the job does.

use std::ffi::c_void;
use std::fmt;

/// What all threads of a herd do; each is told its number.
type Job = Box<dyn Fn(usize) + Send + Sync>;

/// The first function of a thread, and one that starts it, as `pthread_create` does.
type Begin = extern "C" fn(*mut c_void) -> *mut c_void;
pub(crate) type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Begin,
    *mut c_void,
) -> libc::c_int;

/// Bytes of a thread's stack: little, for the sake of the addresses of a thousand of them.
const STACK_BYTES: usize = 64 << 10;

/// Nobody may touch so much below each stack.
const GUARD_BYTES: usize = 4 << 10;

const STRIDE_BYTES: usize = GUARD_BYTES + STACK_BYTES;

/// What a thread is given at its start; it lives as long as the herd.
struct Ticket {
    job: *const Job,
    number: usize,
}

/// Threads that all do the same job; dropping the herd waits for their ends, but for a panic: they
/// may then wait for the one who panicked, and the program is about to end.
pub(crate) struct Herd {
    stacks: *mut c_void,
    tickets: Vec<Ticket>,
    threads: Vec<libc::pthread_t>,
    job: *mut Job,
}

impl fmt::Debug for Herd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Herd").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Herd {
    /// Starts `count` threads; a panic in one of them ends the program.
    pub(crate) fn start(count: usize, job: impl Fn(usize) + Send + Sync + 'static) -> Herd {
        Herd::start_by(libc::pthread_create, count, job)
    }

    /// The same by another function than the one that the program has by this name.
    pub(crate) fn start_by(
        create: Create,
        count: usize,
        job: impl Fn(usize) + Send + Sync + 'static,
    ) -> Herd {
        let job: *mut Job = Box::into_raw(Box::new(Box::new(job)));
        let ticket = |number| Ticket { job, number };
        let tickets = (0..count).map(ticket).collect();
        let mut herd =
            Herd { stacks: map(count), tickets, threads: Vec::with_capacity(count), job };
        for number in 0..count {
            let thread = herd.start_one(create, number);
            herd.threads.push(thread);
        }
        herd
    }

    fn start_one(&self, create: Create, number: usize) -> libc::pthread_t {
        let stack = self.stack(number);
        let ticket = core::ptr::from_ref(&self.tickets[number]).cast_mut().cast();
        // SAFETY: the attributes are this function's own; the stack is this thread's alone and,
        // like the ticket, stays until the thread was joined.
        unsafe {
            let mut attributes = core::mem::zeroed();
            let mut thread = core::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
            assert_eq!(libc::pthread_attr_setstack(&mut attributes, stack, STACK_BYTES), 0);
            let status = create(&mut thread, &attributes, run, ticket);
            assert_eq!(status, 0, "thread {number} starts");
            libc::pthread_attr_destroy(&mut attributes);
            thread
        }
    }

    fn stack(&self, number: usize) -> *mut c_void {
        // SAFETY: the mapping has a stride for each thread.
        unsafe { self.stacks.byte_add(number * STRIDE_BYTES + GUARD_BYTES) }
    }

    /// Bytes of the stacks that are resident.
    pub(crate) fn stack_bytes(&self) -> usize {
        (0..self.threads.len()).map(|number| resident_bytes(self.stack(number))).sum()
    }

    /// Waits until all threads are gone.
    pub(crate) fn join(self) {
        drop(self);
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for thread in self.threads.drain(..) {
            // SAFETY: the thread was started by this herd and not joined yet.
            assert_eq!(unsafe { libc::pthread_join(thread, core::ptr::null_mut()) }, 0);
        }
        // SAFETY: no thread is left that could use its stack or the job, which came from a box.
        unsafe {
            libc::munmap(self.stacks, self.tickets.len() * STRIDE_BYTES);
            drop(Box::from_raw(self.job));
        }
    }
}

extern "C" fn run(ticket: *mut c_void) -> *mut c_void {
    // SAFETY: the herd keeps the ticket and the job until this thread was joined.
    let (job, number) = unsafe {
        let ticket = &*ticket.cast::<Ticket>();
        (&*ticket.job, ticket.number)
    };
    job(number);
    core::ptr::null_mut()
}

/// Room for the stacks of `count` threads, with guards.
fn map(count: usize) -> *mut c_void {
    let bytes = count * STRIDE_BYTES;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, of which only the stacks' parts are made accessible.
    unsafe {
        let stacks = libc::mmap(core::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(stacks, libc::MAP_FAILED, "addresses for {count} stacks");
        for number in 0..count {
            let stack = stacks.byte_add(number * STRIDE_BYTES + GUARD_BYTES);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(stack, STACK_BYTES, access), 0, "a stack");
        }
        stacks
    }
}

fn resident_bytes(stack: *mut c_void) -> usize {
    const PAGES: usize = STACK_BYTES >> 12;
    let mut pages = [0_u8; PAGES];
    // SAFETY: the stack is mapped, and the list has an entry for each of its pages, which are of
    // 4 KiB or more.
    let status = unsafe { libc::mincore(stack, STACK_BYTES, pages.as_mut_ptr()) };
    assert_eq!(status, 0, "the kernel tells which pages of a stack are resident");
    // SAFETY: sysconf has no preconditions.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    pages.iter().filter(|page| *page & 1 != 0).count() * page_bytes
}
