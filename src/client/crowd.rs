//! Many members in one thread: a load generator's, a bridge's.

use std::{io, time::Duration};

use super::{link::LinkError, member::Member};
use crate::os::{self, INTAKE_BYTES, Poller};

/// Members that only listen are looked at so often, though nothing comes: they report what they have.
const TICK_US: u64 = 5_000;

/// Members that share a thread, its waiting and its buffer.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    poller: Poller,
    buffer: Vec<u8>,
    ready: Vec<usize>,
    /// The last turn in which each had its turn.
    served: Vec<u64>,
    turns: u64,
    ticked_us: u64,
}

impl Crowd {
    /// Nobody yet.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            members: Vec::new(),
            poller: Poller::new()?,
            buffer: vec![0; INTAKE_BYTES],
            ready: Vec::new(),
            served: Vec::new(),
            turns: 0,
            ticked_us: 0,
        })
    }

    /// Adds a member. What it is told goes to its [`Member::tap`].
    ///
    /// # Errors
    /// From the system.
    pub fn add(&mut self, mut member: Member) -> io::Result<()> {
        member.lend_no_buffer();
        member.watch(&mut self.poller, self.members.len())?;
        self.members.push(member);
        self.served.push(0);
        Ok(())
    }

    /// Waits until something comes for some of them, or time is out, and gives it to them.
    ///
    /// # Errors
    /// If one of them lost its session.
    pub fn turn(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let timeout = timeout.min(Duration::from_micros(TICK_US));
        self.poller.wait(timeout, &mut self.ready)?;
        self.turns += 1;
        for number in self.ready.drain(..) {
            if std::mem::replace(&mut self.served[number], self.turns) == self.turns {
                continue;
            }
            let member = &mut self.members[number];
            if member.turn(&mut self.buffer)? {
                member.watch(&mut self.poller, number)?;
            }
        }
        let now_us = os::monotonic_us();
        if now_us - self.ticked_us >= TICK_US {
            self.ticked_us = now_us;
            for member in &mut self.members {
                if member.turn_at_us().is_some_and(|at| at <= now_us) {
                    member.turn(&mut self.buffer)?;
                }
            }
        }
        Ok(())
    }

    /// Ends all sessions, said good-bye.
    pub fn quit(self) {
        for member in self.members {
            member.quit();
        }
    }
}
