//! Assertions for `check`, which runs under the heap's locks.
//!
//! A panic allocates its message and may unwind; under a lock of the allocator it would wait for
//! itself. These write their message and abort. Unit tests, whose memory comes from elsewhere, get
//! a panic, from which a property test can find its shortest example.

/// Aborts with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            #[cfg(test)]
            panic!($($message)+);
            #[cfg(not(test))]
            crate::os::message::abort_with(format_args!($($message)+));
        }
    };
}

/// Aborts with a message and both values unless they are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $message:literal) => {
        match (&$left, &$right) {
            (left, right) => ensure!(left == right, "{}: {left:?}, not {right:?}", $message),
        }
    };
}
