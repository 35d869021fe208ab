//! Replies to each message that mentions it: a bot in one room.
//!
//! ```sh
//! cargo run --example bot -- dev       # ends with Ctrl-C
//! moot send dev "@$USER how are you?"
//! ```
//!
//! Other users see this session as `$USER/bot`, with the kind `agent`.

use std::{env, error::Error};

use moot::client::{Begin, Event, Follow, RoomName, Server, SessionKind, Target, Text};

fn main() -> Result<(), Box<dyn Error>> {
    let room: RoomName = env::args().nth(1).ok_or("usage: bot ROOM")?.parse()?;
    let server = Server::find(None)?.labelled("bot".parse()?).of_kind(SessionKind::Agent);
    let mut member = server.listen(vec![Follow::Room(room.clone())], Begin::Now)?;
    loop {
        let Event::Message(message) = member.next_event()? else { continue };
        // Its own messages come back as well.
        if !message.mention || message.from.pid == std::process::id() {
            continue;
        }
        let text =
            format!("{}, you wrote {} characters", message.from, message.text.chars().count());
        // Sent again by itself if the connection breaks, and stored once.
        let to = Target::Room(room.clone());
        member.say(to, Some(message.id.seq), Text::new(&text)?);
    }
}
