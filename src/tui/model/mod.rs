//! The state of the screen: keys and events go in, effects come out. No I/O, no clock.

mod alerts;
mod answers;
#[cfg(test)]
mod cases;
mod commands;
mod completing;
mod conversations;
mod drafts;
mod effect;
mod events;
mod field;
mod hints;
mod input;
mod known;
mod members;
mod notices;
mod options;
mod overlays;
mod pages;
mod reading;
mod room;
mod rooms;
mod scroll;
mod search;
mod searching;
mod state;
mod ticks;
mod times;

#[cfg(test)]
pub(super) use self::{effect::PageAsked, state::Hint};
pub(super) use self::{
    effect::{Effect, PendingRequest, TypedCommand},
    notices::NoticeLine,
    options::{Look, Options},
    room::{Loading, Pending, Present, Quote, Room},
    search::Search,
    state::{Choice, Mode, Model, Session, When},
};
pub(super) use crate::config::screen::{NotifyWish as Alert, PanelWish as Panel};
