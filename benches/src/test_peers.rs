//! The peers as the unit tests have them: this library's own, where a program would have its own.

crate::every_peer!(crate::program_peer_types);
