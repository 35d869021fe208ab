//! Prints the last ten messages of a room, and then each new one.
//!
//! ```sh
//! cargo run --example listen -- dev
//! ```
//!
//! If the server restarts, the member reconnects by itself and misses nothing.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example for a terminal")]

use std::{env, error::Error};

use moot::client::{Begin, Event, Follow, Message, RoomName, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let room: RoomName = env::args().nth(1).ok_or("usage: listen ROOM")?.parse()?;
    let mut member = Server::find(None)?.listen(vec![Follow::Room(room)], Begin::Last(10))?;
    loop {
        match member.next_event()? {
            Event::Message(Message { id, from, text, .. }) => println!("{id} {from}: {text}"),
            Event::Gap { stream, range, .. } => eprintln!("{stream}: messages lost: {range:?}"),
            Event::End { reason } => eprintln!("connection lost: {reason}"),
            _ => {}
        }
    }
}
