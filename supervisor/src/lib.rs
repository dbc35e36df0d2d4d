//! Restarts the right instance at the right time where memory only grows.
