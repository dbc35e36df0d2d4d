//! `libcapmalloc.so`: capmalloc for any program, unchanged.
//!
//! ```text
//! LD_PRELOAD=/path/to/libcapmalloc.so CAPMALLOC_ARENA_MAX=2 ruby app.rb
//! ```
//!
//! It defines `malloc` and its relations, so that the program, the C library and every other
//! library get their memory here.
//!
//! | symbols | file |
//! |---|---|
//! | `malloc`, `calloc`, `realloc`, `reallocarray`, `free`, `cfree`, `free_sized` | `allocation.rs` |
//! | `memalign`, `aligned_alloc`, `posix_memalign`, `valloc`, `pvalloc`, `free_aligned_sized` | `alignment.rs` |
//! | `malloc_usable_size`, `malloc_trim`, `mallopt` | `control.rs` |
//! | `mallinfo`, `mallinfo2`, `malloc_info`, `malloc_stats` | `figures.rs` |
//! | `pthread_create`, `thrd_create` | `threads.rs` |
//! | `__register_atfork` | `forks.rs` |
//! | `__libc_malloc` and the like | `aliases.rs` |
//!
//! All of them are written on `capmalloc::raw`. What Rust code in here allocates comes from the
//! same heap by the allocator's own trait, so that it never meets these symbols.

mod aliases;
mod alignment;
mod allocation;
mod control;
mod errno;
mod figures;
mod forks;
mod next;
mod start;
mod threads;
mod unwinding;

#[global_allocator]
static GLOBAL: capmalloc::CapMalloc = capmalloc::CapMalloc::new();
