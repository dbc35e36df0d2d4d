//! The allocators under comparison, each called as a program would call it.
//!
//! A Rust program reaches its global allocator through `__rust_alloc` and its
//! siblings, which are never inlined into the code that allocates. capmalloc
//! is Rust and could be inlined here, its peers are C and could not, so a
//! bench that called `GlobalAlloc` directly would credit capmalloc with speed
//! that no program ever sees. Each peer therefore gets its own four functions
//! with the signatures of `__rust_alloc`, `__rust_dealloc`, `__rust_realloc`
//! and `__rust_alloc_zeroed`.
//!
//! The four functions are written out per peer by a macro instead of once as
//! a generic function. A generic instance is private to the code that uses
//! it, so the optimizer may notice that every caller passes an alignment of 8
//! and remove the alignment checks from it, which it cannot do to the real
//! `__rust_alloc`. A public function that is not generic keeps all of them.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::workloads::{Run, Scale, Workload};

/// An allocator as the program around it sees it: four functions that are
/// never inlined, with the signatures of `__rust_alloc` and its siblings.
pub trait Peer: Send + Sync + 'static {
    /// Calls `GlobalAlloc::alloc`.
    ///
    /// # Safety
    ///
    /// `size` must not be zero, and `size` with `align` must make a valid
    /// [`Layout`].
    unsafe fn alloc(size: usize, align: usize) -> *mut u8;

    /// Calls `GlobalAlloc::dealloc`.
    ///
    /// # Safety
    ///
    /// `pointer` must be a live block of this peer that has this `size` and
    /// this `align`.
    unsafe fn dealloc(pointer: *mut u8, size: usize, align: usize);

    /// Calls `GlobalAlloc::realloc`.
    ///
    /// # Safety
    ///
    /// `pointer` must be a live block of this peer that has this `size` and
    /// this `align`; `new_size` must not be zero, and `new_size` with `align`
    /// must make a valid [`Layout`].
    unsafe fn realloc(pointer: *mut u8, size: usize, align: usize, new_size: usize) -> *mut u8;

    /// Calls `GlobalAlloc::alloc_zeroed`.
    ///
    /// # Safety
    ///
    /// As for [`Peer::alloc`].
    unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8;
}

/// Declares every peer: its marker type, its four functions, and its place in
/// [`PeerId`], so that a new allocator is one line below and no other edit.
macro_rules! peers {
    ($($(#[$documentation:meta])* $marker:ident: $allocator:ty = $value:expr, $name:literal;)+) => {
        /// Names one of the allocators under comparison.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PeerId {
            $($(#[$documentation])* $marker,)+
        }

        impl PeerId {
            /// Every peer, in the order of the columns of the summary.
            pub const ALL: &[Self] = &[$(Self::$marker,)+];

            /// The name printed for this peer and accepted from the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$marker => $name,)+
                }
            }

            /// Opens a workload on this peer, which is the one step from a
            /// peer known at run time to code generic over the peer.
            #[must_use]
            pub fn open<W: Workload>(self, workload: &W, scale: Scale) -> Box<dyn Run> {
                match self {
                    $(Self::$marker => workload.open::<$marker>(scale),)+
                }
            }

            /// The peer as the global allocator of a process that chose it when it started.
            #[must_use]
            pub fn global(self) -> &'static dyn GlobalAlloc {
                match self {
                    $(Self::$marker => $marker::allocator(),)+
                }
            }
        }

        $(
            $(#[$documentation])*
            #[derive(Debug)]
            pub enum $marker {}

            impl $marker {
                /// The one instance, as a program declares it.
                #[inline(always)]
                fn allocator() -> &'static $allocator {
                    static ALLOCATOR: $allocator = $value;
                    &ALLOCATOR
                }
            }

            impl Peer for $marker {
                #[inline(never)]
                unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
                    // SAFETY: The caller promises a valid layout of at least one byte.
                    unsafe {
                        Self::allocator().alloc(Layout::from_size_align_unchecked(size, align))
                    }
                }

                #[inline(never)]
                unsafe fn dealloc(pointer: *mut u8, size: usize, align: usize) {
                    // SAFETY: The caller promises a live block of this
                    // allocator and the layout that it has.
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
                    // SAFETY: The caller promises a live block of this
                    // allocator, the layout that it has, and a valid new size.
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

peers! {
    /// The C library's malloc, which is what `std::alloc::System` calls.
    Glibc: System = System, "system";
    /// jemalloc, as the `tikv-jemallocator` crate builds it.
    Jemalloc: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc, "jemalloc";
    /// mimalloc, as the `mimalloc` crate builds it.
    Mimalloc: mimalloc::MiMalloc = mimalloc::MiMalloc, "mimalloc";
    /// capmalloc with the configuration it has by default.
    Capmalloc: capmalloc::CapMalloc = capmalloc::CapMalloc::new(), "capmalloc";
}

impl PeerId {
    /// Finds a peer by its printed name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|peer| peer.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a block through all four functions and checks its bytes.
    fn exercise<P: Peer>() {
        // SAFETY: Every size is at least one byte, every layout valid, and
        // each block is released once, with the size it has at that point.
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

    #[test]
    fn every_peer_serves_all_four_functions() {
        exercise::<Glibc>();
        exercise::<Jemalloc>();
        exercise::<Mimalloc>();
        exercise::<Capmalloc>();
    }

    #[test]
    fn names_lead_back_to_their_peers() {
        for &peer in PeerId::ALL {
            assert_eq!(PeerId::from_name(peer.name()), Some(peer));
        }
        assert_eq!(PeerId::from_name("no such allocator"), None);
    }
}
