//! What is done when the library is loaded; the heap itself starts at the first allocation, which
//! is earlier.

use capmalloc::raw;

use crate::figures;

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    if crate::threads::ARE_TOLD {
        raw::threads_are_told();
    }
    if figures::is_set(c"CAPMALLOC_STATS_JSON") {
        // SAFETY: the function takes and returns nothing, and lives as long as the program.
        unsafe { libc::atexit(figures::write_json_at_exit) };
    }
}
