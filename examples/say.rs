//! Sends one message and waits until the server has stored it.
//!
//! ```sh
//! cargo run --example say -- dev "build ok"
//! cargo run --example say -- @ann "look at dev"
//! ```
//!
//! The server is the one that `moot` commands use; `MOOT_SERVER` names another.

#![allow(clippy::print_stdout, reason = "an example for a terminal")]

use std::{env, error::Error};

use moot::client::{Server, Target};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(target), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: say TARGET TEXT".into());
    };
    let target: Target = target.parse()?;
    let sent = Server::find(None)?.say(&target, &text)?;
    println!("{} for {} other sessions", sent.id, sent.members);
    Ok(())
}
