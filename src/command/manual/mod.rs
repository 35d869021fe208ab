//! Built-in documentation: help by purpose, manual pages, completion on the command line.

mod completion;
mod examples;
mod groups;
mod help;
mod page;
mod print;
mod topics;

pub(super) use self::{
    completion::complete,
    help::{dress, suggestion_for},
    print::{completions, man},
};
