//! The server's end, clean or not, and what members and the next server make of it.
