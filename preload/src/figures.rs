//! What a program is told of its heap, in the forms that glibc has for it.

use core::ffi::{CStr, c_char, c_int};
use core::fmt::Write as _;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize};

use capmalloc::{ArenaStats, ClassStats, Stats};

use crate::errno;

/// The most mapped that any of these calls has seen.
static MAPPED_MAX_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Above the descriptors that shells and servers count on, as far as the limit on them allows.
const FIGURES_AT_MIN: [c_int; 5] = [200, 100, 50, 10, 3];

/// As in `malloc.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MallInfo2 {
    /// Bytes of what is not huge, in use or free and resident.
    arena: usize,
    /// Free blocks.
    ordblks: usize,
    /// Free blocks in caches and depots.
    smblks: usize,
    /// Huge allocations.
    hblks: usize,
    /// Bytes of them.
    hblkhd: usize,
    usmblks: usize,
    /// Bytes of free blocks in caches and depots.
    fsmblks: usize,
    /// Bytes in use, huge allocations apart.
    uordblks: usize,
    /// Bytes free and resident.
    fordblks: usize,
    /// Bytes that a trim would find at once.
    keepcost: usize,
}

/// As in `malloc.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MallInfo {
    fields: [c_int; 10],
}

/// Figures of the heap; true ones, however large.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mallinfo2() -> MallInfo2 {
    let stats = capmalloc::stats();
    let free = |class: &capmalloc::ClassStats| class.slab_blocks.saturating_sub(class.live_blocks);
    let uordblks = stats.allocated_bytes.saturating_sub(stats.huge_bytes);
    let active_bytes = stats.active_bytes.saturating_sub(stats.huge_bytes);
    let fordblks = active_bytes.saturating_sub(uordblks) + stats.dirty_bytes;
    MallInfo2 {
        arena: uordblks + fordblks,
        ordblks: stats.classes.iter().map(free).sum(),
        smblks: stats.classes.iter().map(kept_blocks).sum(),
        hblks: stats.huge_count,
        hblkhd: stats.huge_bytes,
        usmblks: 0,
        fsmblks: kept_bytes(&stats),
        uordblks,
        fordblks,
        keepcost: stats.dirty_bytes,
    }
}

/// Free blocks of a class in caches and depots.
fn kept_blocks(class: &ClassStats) -> usize {
    class.cached_blocks + class.cpu_cached_blocks + class.depot_blocks
}

/// Bytes of free blocks in caches and depots.
fn kept_bytes(stats: &Stats) -> usize {
    stats.thread_cache_bytes + stats.cpu_cache_bytes + stats.depot_bytes
}

/// The same in fields that are too short for most heaps of today, where they wrap.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mallinfo() -> MallInfo {
    let info = mallinfo2();
    let fields = [
        info.arena,
        info.ordblks,
        info.smblks,
        info.hblks,
        info.hblkhd,
        info.usmblks,
        info.fsmblks,
        info.uordblks,
        info.fordblks,
        info.keepcost,
    ];
    MallInfo { fields: fields.map(|field| field as c_int) }
}

/// Writes capmalloc's table of figures to standard error.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc_stats() {
    let table = format!("{}\n", capmalloc::stats());
    write_to(libc::STDERR_FILENO, &table);
}

/// Writes figures as XML, in glibc's elements; `EINVAL` for any option but 0.
///
/// # Safety
///
/// `stream` is open for writing.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    let text = xml(&capmalloc::stats());
    // SAFETY: the text is so long, and the caller promises the stream.
    let written = unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), stream) };
    if written == text.len() { 0 } else { -1 }
}

fn xml(stats: &Stats) -> String {
    let mut text = String::from("<malloc version=\"1\">\n");
    for (index, arena) in stats.arenas.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write_heap(&mut text, index, arena);
    }
    let _ = write_totals(&mut text, stats);
    text.push_str("</malloc>\n");
    text
}

/// An arena: its free blocks by size, and the pages of its slabs.
fn write_heap(text: &mut String, index: usize, arena: &ArenaStats) -> core::fmt::Result {
    writeln!(text, "<heap nr=\"{index}\">\n<sizes>")?;
    let (mut count, mut bytes, mut before) = (0, 0, 0);
    for class in &arena.classes {
        let free = class.slab_blocks.saturating_sub(class.live_blocks);
        let (from, to, total) = (before + 1, class.block_bytes, free * class.block_bytes);
        before = class.block_bytes;
        if free > 0 {
            writeln!(
                text,
                "  <size from=\"{from}\" to=\"{to}\" total=\"{total}\" count=\"{free}\"/>"
            )?;
        }
        count += free;
        bytes += total;
    }
    let slab_bytes = arena.slab_bytes;
    writeln!(text, "</sizes>\n<total type=\"fast\" count=\"0\" size=\"0\"/>")?;
    writeln!(text, "<total type=\"rest\" count=\"{count}\" size=\"{bytes}\"/>")?;
    write_system(text, slab_bytes, slab_bytes)?;
    writeln!(text, "</heap>")
}

fn write_totals(text: &mut String, stats: &Stats) -> core::fmt::Result {
    let kept: usize = stats.classes.iter().map(kept_blocks).sum();
    let kept_bytes = kept_bytes(stats);
    let free: usize =
        stats.classes.iter().map(|class| class.slab_blocks.saturating_sub(class.live_blocks)).sum();
    let free_bytes = stats.active_bytes.saturating_sub(stats.allocated_bytes) + stats.dirty_bytes;
    let (rest, rest_bytes) = (free.saturating_sub(kept), free_bytes.saturating_sub(kept_bytes));
    let max_bytes = MAPPED_MAX_BYTES.fetch_max(stats.mapped_bytes, Relaxed).max(stats.mapped_bytes);
    writeln!(text, "<total type=\"fast\" count=\"{kept}\" size=\"{kept_bytes}\"/>")?;
    writeln!(text, "<total type=\"rest\" count=\"{rest}\" size=\"{rest_bytes}\"/>")?;
    let (huge, huge_bytes) = (stats.huge_count, stats.huge_bytes);
    writeln!(text, "<total type=\"mmap\" count=\"{huge}\" size=\"{huge_bytes}\"/>")?;
    write_system(text, stats.mapped_bytes, max_bytes)
}

fn write_system(text: &mut String, bytes: usize, max_bytes: usize) -> core::fmt::Result {
    writeln!(text, "<system type=\"current\" size=\"{bytes}\"/>")?;
    writeln!(text, "<system type=\"max\" size=\"{max_bytes}\"/>")?;
    writeln!(text, "<aspace type=\"total\" size=\"{bytes}\"/>")?;
    writeln!(text, "<aspace type=\"mprotect\" size=\"{bytes}\"/>")
}

/// Where figures go at exit: standard error as it was at the start, for many programs close theirs
/// before they end. Negative where none are wanted, or there was no standard error.
static FIGURES_AT: AtomicI32 = AtomicI32::new(-1);

/// The device and the file that standard error was then. A program that closes all descriptors may
/// have come to use the number for a file of its own.
static FIGURES_DEVICE: AtomicU64 = AtomicU64::new(0);
static FIGURES_FILE: AtomicU64 = AtomicU64::new(0);

/// Sees to the figures at exit if the variable `CAPMALLOC_STATS` asks for them as a `table` or as
/// `json`.
pub(crate) fn write_at_exit_if_asked() {
    // SAFETY: the name is terminated, and at the start nobody changes the environment.
    let value: *const c_char = unsafe { libc::getenv(c"CAPMALLOC_STATS".as_ptr()) };
    if value.is_null() {
        return;
    }
    // SAFETY: a value of the environment is terminated.
    let writer: extern "C" fn() = match unsafe { CStr::from_ptr(value) }.to_bytes() {
        b"table" => write_table_at_exit,
        b"json" => write_json_at_exit,
        _ => {
            return write_to(
                libc::STDERR_FILENO,
                "capmalloc: CAPMALLOC_STATS is neither table nor json; writing no figures\n",
            );
        }
    };
    // SAFETY: a copy of a descriptor.
    let copy = |min: c_int| unsafe { libc::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, min) };
    let Some(copy) = FIGURES_AT_MIN.into_iter().map(copy).find(|copy| *copy >= 0) else { return };
    let Some((device, file)) = identity_of(copy) else { return };
    FIGURES_DEVICE.store(device, Relaxed);
    FIGURES_FILE.store(file, Relaxed);
    FIGURES_AT.store(copy, Relaxed);
    // SAFETY: a function that takes and returns nothing and lives as long as the program.
    unsafe { libc::atexit(writer) };
}

/// The device and the file that a descriptor is of.
fn identity_of(descriptor: c_int) -> Option<(u64, u64)> {
    // SAFETY: zeros are a valid value of a structure of numbers, and the call writes it.
    unsafe {
        let mut status: libc::stat = core::mem::zeroed();
        (libc::fstat(descriptor, &mut status) == 0).then_some((status.st_dev, status.st_ino))
    }
}

extern "C" fn write_table_at_exit() {
    write_at_exit(&capmalloc::stats().to_string());
}

extern "C" fn write_json_at_exit() {
    write_at_exit(&json(&capmalloc::stats()));
}

fn write_at_exit(figures: &str) {
    let descriptor = FIGURES_AT.load(Relaxed);
    let identity = (FIGURES_DEVICE.load(Relaxed), FIGURES_FILE.load(Relaxed));
    if identity_of(descriptor) == Some(identity) {
        write_to(descriptor, figures);
    }
}

fn json(stats: &Stats) -> String {
    let figures = [
        ("allocated_bytes", stats.allocated_bytes),
        ("active_bytes", stats.active_bytes),
        ("dirty_bytes", stats.dirty_bytes),
        ("metadata_bytes", stats.metadata_bytes),
        ("resident_bytes", stats.resident_bytes),
        ("mapped_bytes", stats.mapped_bytes),
        ("retained_bytes", stats.retained_bytes),
        ("thread_cache_bytes", stats.thread_cache_bytes),
        ("cpu_cache_bytes", stats.cpu_cache_bytes),
        ("depot_bytes", stats.depot_bytes),
        ("large_bytes", stats.large_bytes),
        ("huge_bytes", stats.huge_bytes),
        ("huge_count", stats.huge_count),
        ("threads", stats.threads),
        ("arenas", stats.arenas.len()),
        ("arena_max", stats.arena_max),
        ("cache_budget_bytes", stats.cache_budget_bytes),
        ("cache_lent_bytes", stats.cache_lent_bytes),
        ("cpu_cache_lent_bytes", stats.cpu_cache_lent_bytes),
        ("segments", stats.segments),
        ("segments_mapped", stats.segments_mapped),
        ("segments_released", stats.segments_released),
        ("purge_calls", stats.purge_calls),
        ("purged_bytes", stats.purged_bytes),
    ];
    // SAFETY: asks for a number.
    let mut text = format!("{{\"pid\":{}", unsafe { libc::getpid() });
    for (name, value) in figures {
        // Writing to a string does not fail.
        let _ = write!(text, ",\"{name}\":{value}");
    }
    text.push_str("}\n");
    text
}

/// Writes all of it, or as much as can be; `errno` may change.
fn write_to(descriptor: c_int, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: the bytes are read while they are borrowed.
        let written = unsafe { libc::write(descriptor, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            Err(_) if errno::is_interruption() => {}
            _ => return,
        }
    }
}
