//! What a program asks of its allocator: usable sizes, a trim, settings.

use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::time::Duration;

use capmalloc::raw;

/// From `malloc.h`.
const M_MXFAST: c_int = 1;
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;
const M_PERTURB: c_int = -6;
const M_ARENA_MAX: c_int = -8;

/// Above this an allocation has a mapping of its own.
const MAPPING_THRESHOLD_BYTES: c_int = 2 << 20;

const DEFAULT_DECAY: Duration = Duration::from_secs(1);

/// Bytes that the user of a block may use; of null, none.
///
/// # Safety
///
/// `pointer` is null, or came from here and is in use.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn malloc_usable_size(pointer: *mut c_void) -> usize {
    let Some(block) = NonNull::new(pointer.cast()) else { return 0 };
    raw::usable_bytes(block)
        .unwrap_or_else(|error| raw::abort_over("malloc_usable_size", block, error))
}

/// Gives all that is free back to the kernel: 1 when memory went back, 0 when none did.
///
/// The argument, how much glibc would keep at the top of its heap, has no meaning here.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc_trim(_pad_bytes: usize) -> c_int {
    c_int::from(capmalloc::trim().total_bytes() > 0)
}

/// Changes a setting: 1 where what was asked for holds from now on, and 0 where it does not.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    let holds = match parameter {
        M_ARENA_MAX => {
            usize::try_from(value).is_ok_and(|cap| capmalloc::set_arena_max(cap).is_ok())
        }
        M_TRIM_THRESHOLD => {
            set_trimming(value);
            true
        }
        // Not to be changed here, so that only asking for what is so holds.
        M_MMAP_THRESHOLD => value == MAPPING_THRESHOLD_BYTES,
        M_PERTURB => value == 0,
        // Blocks up to any size are kept for reuse; a program can only have it at least so.
        M_MXFAST => (1..=160).contains(&value),
        _ => false,
    };
    c_int::from(holds)
}

/// Memory goes back by the time it lay unused, not by how much there is; never, if less than none
/// is the threshold.
fn set_trimming(threshold: c_int) {
    if threshold < 0 {
        capmalloc::set_decay(None);
    } else if capmalloc::decay().is_none() {
        capmalloc::set_decay(Some(DEFAULT_DECAY));
    }
}
