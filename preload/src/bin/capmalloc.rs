//! `capmalloc run`.
fn main() {}
