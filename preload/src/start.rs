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
        raw::forks_are_told();
    }
    figures::write_at_exit_if_asked();
}
