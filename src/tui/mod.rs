//! The screen of `moot join` on a terminal: rooms, messages, an input.
//!
//! The `model` takes keys and events, and returns effects; the `view` makes rows of it; neither
//! does I/O or reads the time. Only `terminal` writes to the terminal. The `event_loop` connects
//! them and the session, on one thread: another thread reads keys (`terminal::read_keys`), and
//! waits while a pager or an editor has the terminal.

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
