//! The allocators under comparison, each called as a program would call it.
//!
//! A Rust program reaches its global allocator through `__rust_alloc` and its siblings. They are
//! compiled with the program and not with any library, and never inlined into the code that
//! allocates. So it is here:
//!
//! - Each peer has four functions with the signatures of `__rust_alloc`, `__rust_dealloc`,
//!   `__rust_realloc` and `__rust_alloc_zeroed`, which are never inlined. capmalloc is Rust and
//!   could be inlined, its peers are C and could not, so a bench that called `GlobalAlloc` itself
//!   would credit capmalloc with speed that no program ever sees.
//! - The functions, and all workloads with them, are compiled in the program that measures: this
//!   library has macros and generic code alone, and [`program_peers!`](crate::program_peers) is
//!   called from the bench. In a library the compiler does not know that its code ends in a
//!   program, and finds a thread's own variables by a longer way, which capmalloc's fast path
//!   would then pay for in the bench and nowhere else.
//! - A table that is kept, though nothing reads it, has the address of each function. Without it
//!   the optimizer may notice that nobody else can call them, that every caller passes an
//!   alignment of 8, and remove the alignment checks. It cannot do that to `__rust_alloc`.

use std::alloc::GlobalAlloc;

use crate::workloads::{Run, Scale, Work};

/// An allocator as the program around it sees it: four functions that are never inlined, with the
/// signatures of `__rust_alloc` and its siblings.
pub trait Peer: Send + Sync + 'static {
    /// Which of the allocators this is.
    const ID: PeerId;

    /// Calls `GlobalAlloc::alloc`.
    ///
    /// # Safety
    ///
    /// `size` must not be zero, and `size` with `align` must make a valid
    /// [`Layout`](std::alloc::Layout).
    unsafe fn alloc(size: usize, align: usize) -> *mut u8;

    /// Calls `GlobalAlloc::dealloc`.
    ///
    /// # Safety
    ///
    /// `pointer` must be a live block of this peer that has this `size` and this `align`.
    unsafe fn dealloc(pointer: *mut u8, size: usize, align: usize);

    /// Calls `GlobalAlloc::realloc`.
    ///
    /// # Safety
    ///
    /// `pointer` must be a live block of this peer that has this `size` and this `align`;
    /// `new_size` must not be zero, and `new_size` with `align` must make a valid
    /// [`Layout`](std::alloc::Layout).
    unsafe fn realloc(pointer: *mut u8, size: usize, align: usize, new_size: usize) -> *mut u8;

    /// Calls `GlobalAlloc::alloc_zeroed`.
    ///
    /// # Safety
    ///
    /// As for [`Peer::alloc`].
    unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8;
}

/// Opens work on a peer, which is the one step from a peer known at run time to code generic over
/// the peer. A program has its own from [`program_peers!`](crate::program_peers).
pub type Open = fn(PeerId, &Work, Scale) -> Box<dyn Run>;

/// Calls a macro with every peer, so that a new allocator is one line below and no other edit.
///
/// Those built by a C++ compiler are there with the feature `all-peers` alone.
#[doc(hidden)]
#[macro_export]
macro_rules! every_peer {
    ($($macro:tt)+) => {
        $($macro)+! {
            /// The C library's malloc, which is what `std::alloc::System` calls.
            Glibc: std::alloc::System = std::alloc::System, "system";
            /// jemalloc, as the `tikv-jemallocator` crate builds it.
            Jemalloc: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc, "jemalloc";
            /// mimalloc, as the `mimalloc` crate builds it.
            Mimalloc: mimalloc::MiMalloc = mimalloc::MiMalloc, "mimalloc";
            #[cfg(feature = "all-peers")]
            /// snmalloc, as the `snmalloc-rs` crate builds it.
            Snmalloc: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc::new(), "snmalloc";
            #[cfg(feature = "all-peers")]
            /// rpmalloc, as the `rpmalloc` crate builds it.
            Rpmalloc: rpmalloc::RpMalloc = rpmalloc::RpMalloc, "rpmalloc";
            #[cfg(feature = "all-peers")]
            /// Google's tcmalloc, as the `tcmalloc-better` crate builds it.
            Tcmalloc: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc, "tcmalloc";
            /// capmalloc with the configuration it has by default.
            Capmalloc: capmalloc::CapMalloc = capmalloc::CapMalloc::new(), "capmalloc";
        }
    };
}

/// Declares [`PeerId`].
macro_rules! peer_ids {
    ($(
        $(#[cfg($condition:meta)])? $(#[doc = $documentation:literal])+
        $marker:ident: $allocator:ty = $value:expr, $name:literal;
    )+) => {
        /// Names one of the allocators under comparison.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PeerId {
            $($(#[cfg($condition)])? $(#[doc = $documentation])+ $marker,)+
        }

        impl PeerId {
            /// Every peer, in the order of the columns of the summary.
            pub const ALL: &[Self] = &[$($(#[cfg($condition)])? Self::$marker,)+];

            /// The name printed for this peer and accepted from the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($(#[cfg($condition)])? Self::$marker => $name,)+
                }
            }

            /// The peer as the global allocator of a process that chose it when it started, where a
            /// call through a table costs all peers the same.
            #[must_use]
            pub fn global(self) -> &'static dyn GlobalAlloc {
                match self {
                    $($(#[cfg($condition)])? Self::$marker => {
                        static ALLOCATOR: $allocator = $value;
                        &ALLOCATOR
                    })+
                }
            }
        }
    };
}

crate::every_peer!(peer_ids);

impl PeerId {
    /// Finds a peer by its printed name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|peer| peer.name() == name)
    }

    /// Whether the peer's crate brings a way of starting threads: see [`crate::threads`].
    pub(crate) fn wraps_threads(self) -> bool {
        self.name() == "rpmalloc"
    }
}

/// Declares, in the program that calls it, a module `peers`: a type for each peer, its four
/// functions, and a function `open` that is the program's [`Open`](crate::peers::Open).
///
/// See [`crate::peers`] for why that is the program's to do.
#[macro_export]
macro_rules! program_peers {
    () => {
        /// The allocators under comparison, compiled as part of this program.
        mod peers {
            $crate::every_peer!($crate::program_peer_types);
        }
    };
}

/// The inside of the module that `program_peers!` declares.
#[doc(hidden)]
#[macro_export]
macro_rules! program_peer_types {
    ($(
        $(#[cfg($condition:meta)])? $(#[doc = $documentation:literal])+
        $marker:ident: $allocator:ty = $value:expr, $name:literal;
    )+) => {
        use std::alloc::{GlobalAlloc, Layout};

        use $crate::peers::{Peer, PeerId};
        use $crate::workloads::{Run, Scale, Work, Workload};

        /// Opens work on a peer.
        pub(crate) fn open(peer: PeerId, work: &Work, scale: Scale) -> Box<dyn Run> {
            match peer {
                $($(#[cfg($condition)])? PeerId::$marker => work.open::<$marker>(scale),)+
            }
        }

        $(
            $(#[cfg($condition)])?
            $(#[doc = $documentation])+
            #[derive(Debug)]
            pub(crate) enum $marker {}

            $(#[cfg($condition)])?
            impl $marker {
                /// The one instance, as a program declares it.
                #[inline(always)]
                fn allocator() -> &'static $allocator {
                    static ALLOCATOR: $allocator = $value;
                    &ALLOCATOR
                }
            }

            $(#[cfg($condition)])?
            const _: () = {
                type Alloc = unsafe fn(usize, usize) -> *mut u8;
                type Dealloc = unsafe fn(*mut u8, usize, usize);
                type Realloc = unsafe fn(*mut u8, usize, usize, usize) -> *mut u8;

                /// Lets the optimizer know of no caller's arguments: whoever reads this may call.
                #[used]
                static CALLABLE_BY_ANYONE: (Alloc, Dealloc, Realloc, Alloc) =
                    ($marker::alloc, $marker::dealloc, $marker::realloc, $marker::alloc_zeroed);
            };

            $(#[cfg($condition)])?
            impl Peer for $marker {
                const ID: PeerId = PeerId::$marker;

                #[inline(never)]
                unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
                    // SAFETY: The caller promises a valid layout of at least one byte.
                    unsafe {
                        Self::allocator().alloc(Layout::from_size_align_unchecked(size, align))
                    }
                }

                #[inline(never)]
                unsafe fn dealloc(pointer: *mut u8, size: usize, align: usize) {
                    // SAFETY: The caller promises a live block of this allocator and the layout
                    // that it has.
                    unsafe {
                        let layout = Layout::from_size_align_unchecked(size, align);
                        Self::allocator().dealloc(pointer, layout);
                    }
                }

                #[inline(never)]
                unsafe fn realloc(
                    pointer: *mut u8,
                    size: usize,
                    align: usize,
                    new_size: usize,
                ) -> *mut u8 {
                    // SAFETY: The caller promises a live block of this allocator, the layout that
                    // it has, and a valid new size.
                    unsafe {
                        let layout = Layout::from_size_align_unchecked(size, align);
                        Self::allocator().realloc(pointer, layout, new_size)
                    }
                }

                #[inline(never)]
                unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8 {
                    // SAFETY: The caller promises a valid layout of at least one byte.
                    unsafe {
                        let layout = Layout::from_size_align_unchecked(size, align);
                        Self::allocator().alloc_zeroed(layout)
                    }
                }
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_peers;

    /// Takes a block through all four functions and checks its bytes.
    fn exercise<P: Peer>() {
        // SAFETY: Every size is at least one byte, every layout valid, and each block is released
        // once, with the size it has at that point.
        unsafe {
            let zeroed = P::alloc_zeroed(64, 8);
            assert!((0..64).all(|index| zeroed.add(index).read() == 0));
            P::dealloc(zeroed, 64, 8);
            let small = P::alloc(32, 64);
            assert_eq!(small.addr() % 64, 0);
            small.write_bytes(7, 32);
            let large = P::realloc(small, 32, 64, 4096);
            assert_eq!(large.addr() % 64, 0);
            assert!((0..32).all(|index| large.add(index).read() == 7));
            P::dealloc(large, 4096, 64);
        }
    }

    macro_rules! exercise_all {
        ($(
            $(#[cfg($condition:meta)])? $(#[doc = $documentation:literal])+
            $marker:ident: $allocator:ty = $value:expr, $name:literal;
        )+) => {
            $($(#[cfg($condition)])? {
                exercise::<test_peers::$marker>();
                assert_eq!(test_peers::$marker::ID.name(), $name);
            })+
        };
    }

    #[test]
    fn every_peer_serves_all_four_functions() {
        crate::every_peer!(exercise_all);
    }

    #[test]
    fn names_lead_back_to_their_peers() {
        for &peer in PeerId::ALL {
            assert_eq!(PeerId::from_name(peer.name()), Some(peer));
        }
        assert_eq!(PeerId::from_name("no such allocator"), None);
    }
}
