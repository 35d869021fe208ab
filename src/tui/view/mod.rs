//! The view: the state of the screen as rows. No I/O, no clock.

mod bars;
mod input;
mod layout;
mod overlay;
mod pane;
mod panels;
mod screen;
#[cfg(test)]
pub(super) mod tests;

pub(super) use self::screen::{frame, geometry};
