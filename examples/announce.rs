//! Announces something to all members and names those that it did not reach.
//!
//! ```sh
//! cargo run --example announce -- "reboot at 18:00"
//! ```

#![allow(clippy::print_stdout, reason = "an example for a terminal")]

use std::{env, error::Error};

use moot::client::{Level, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let text = env::args().nth(1).ok_or("usage: announce TEXT")?;
    let receipt = Server::find(None)?.announce(Level::Warning, &text)?;
    println!("reached {} of {} members", receipt.reached, receipt.members);
    for missing in &receipt.missing {
        println!("not reached: {} (pid {}, {})", missing.name, missing.pid, missing.state);
    }
    Ok(())
}
