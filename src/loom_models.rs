//! Models: small programs of a few threads, run by loom in every order that the memory model
//! allows. Built by `ci/test.sh loom` alone.
//!
//! They run the source that programs run; what stands in for atomics, fences and the kernel is told
//! in `sync/modelled.rs`, and so is what they cannot show. Blocks in caches are numbers here where
//! nothing looks into them. Each model ends with a count of all blocks: one that was lost is
//! missing, and one that was handed out twice comes up twice.

mod caches;
mod depot;
mod handshake;
mod heap;
mod left_spans;
mod lock;
