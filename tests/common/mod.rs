//! What the test binaries share; each of them uses a part of it.

#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod account;
pub(crate) mod address_space;
pub(crate) mod block;
pub(crate) mod child;
pub(crate) mod fork;
pub(crate) mod herd;
pub(crate) mod load;
pub(crate) mod pattern;
pub(crate) mod resident;
pub(crate) mod tasks;
pub(crate) mod waiting;
pub(crate) mod worker;
