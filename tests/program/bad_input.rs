//! Bad input of every kind: a clear error with the right exit code, and the others are served on.
