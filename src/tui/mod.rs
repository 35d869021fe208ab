//! The screen of `moot join` on a terminal: rooms, messages, an input; what a person lives in.
//!
//! The `model` takes keys and events, and says what is to be done; the `view` makes rows of it;
//! neither does I/O or knows the time. `terminal` is the only one that touches the terminal. The
//! `event_loop` connects them and the session, on one thread: another one reads keys
//! (`terminal::read_keys`), and waits while a pager or an editor has the terminal.

mod cells;
mod chord;
mod complete;
mod editor;
mod event_loop;
mod frame;
mod geometry;
mod hangul;
mod kept;
mod keys;
mod lines;
mod links;
mod model;
mod moves;
mod nearest;
mod outside;
mod paint;
mod paragraph;
mod rows;
mod scripts;
mod scrollback;
pub(crate) mod sentences;
mod setup;
pub(crate) mod slash;
mod terminal;
mod view;
mod width;
mod wrap;

pub use self::setup::check;
pub(crate) use self::{
    event_loop::run,
    keys::default_help as default_keys,
    setup::{End, Farewell, INPUTS_MAX, Input, ScreenError, Setup, Show},
    terminal::{columns, restore},
    width::cut,
};
