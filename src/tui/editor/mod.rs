//! The input: several lines of text, moved through and changed by grapheme clusters, which people
//! see as one character.
//!
//! The crates for text input work on `char`s: their cursor stops within an emoji family or a
//! decomposed Hangul syllable, and deletes half of it. This one knows no keys and no terminal.

mod draft;
mod input;
mod layout;
mod words;

pub(super) use self::{
    draft::Draft,
    input::{Edit, Editor},
};
