//! Does the jobs of a room: adds the numbers of each job and replies with the sum.
//!
//! ```sh
//! cargo run --example worker -- sums   # ends with Ctrl-C; start several, and they share the jobs
//! moot ask sums "1 2 3"
//! ```

use std::{env, error::Error};

use moot::client::{RoomName, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let room: RoomName = env::args().nth(1).ok_or("usage: worker ROOM")?.parse()?;
    // One worker of the queue gets each job.
    let queue = "adders".parse()?;
    let never = Server::find(None)?.answer(&room, Some(queue), |job| {
        let numbers: Result<Vec<i64>, _> = job.text.split_whitespace().map(str::parse).collect();
        match numbers {
            Ok(numbers) => Ok(numbers.iter().sum::<i64>().to_string()),
            Err(e) => Err(format!("{:?} is not a list of numbers: {e}", job.text)),
        }
    })?;
    match never {}
}
