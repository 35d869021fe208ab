//! A descriptor that is kept aside for the time when none are left.

use std::{fs::File, io, os::fd::OwnedFd};

/// A spare descriptor, so that a connection can be accepted and closed when none are left.
#[derive(Debug)]
pub struct Reserve(File);

impl Reserve {
    /// Keeps one aside.
    ///
    /// # Errors
    /// If there is none.
    pub fn open() -> io::Result<Self> {
        File::open("/dev/null").map(Self)
    }

    /// The descriptor, for something else to take its place.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0.into()
    }
}
