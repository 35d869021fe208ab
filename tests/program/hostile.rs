//! Hostile surroundings: directories of other users, things in the place of files, a server that means harm.

mod paths;
mod words;
