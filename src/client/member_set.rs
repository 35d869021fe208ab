//! Many members in one thread: a load generator's, a bridge's.

use std::{io, ops::Range, time::Duration};

use super::{link::LinkError, member::Member};
use crate::{
    limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX},
    os::{self, Poller, Source},
};

/// Period in which members that only listen are looked at, though nothing comes: they report what
/// they have.
const TICK_US: u64 = 5_000;
/// Bytes of datagrams that are taken before they are looked at: some large ones, or one for each of
/// many.
const STAGE_BYTES: usize = 4 * FRAME_BYTES_MAX;

/// Members that share a thread, its waiting and its buffers.
#[derive(Debug)]
pub struct MemberSet {
    members: Vec<Member>,
    poller: Poller,
    buffer: Vec<u8>,
    stage: Vec<u8>,
    /// Datagrams in `stage`, and whose they are.
    staged: Vec<(usize, Range<usize>)>,
    ready: Vec<(usize, Source)>,
    ticked_us: u64,
}

impl MemberSet {
    /// Creates a crowd without members.
    ///
    /// # Errors
    /// Returns an error if descriptors have run out.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            members: Vec::new(),
            poller: Poller::new()?,
            buffer: vec![0; FRAME_BYTES_MAX],
            stage: vec![0; STAGE_BYTES],
            staged: Vec::new(),
            ready: Vec::new(),
            ticked_us: 0,
        })
    }

    /// Adds a member. Messages go to its [`Member::tap`]; its other events are passed over.
    ///
    /// # Errors
    /// Returns the error of the system.
    pub fn add(&mut self, mut member: Member) -> io::Result<()> {
        member.lend_no_buffer();
        member.watch(&mut self.poller, self.members.len())?;
        self.members.push(member);
        Ok(())
    }

    /// Waits until something comes for some of them, or the timeout passes, and gives it to them.
    ///
    /// # Errors
    /// Returns an error if one of them lost its session, or its room.
    pub fn turn(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let timeout = timeout.min(Duration::from_micros(TICK_US));
        self.poller.wait(timeout, &mut self.ready)?;
        let mut ready = std::mem::take(&mut self.ready);
        let channels = ready.iter().filter(|(_, source)| *source == Source::Channel);
        let done = channels.map(|(number, _)| *number).try_for_each(|number| self.receive(number));
        done.and_then(|()| self.deliver())?;
        let sessions = ready.iter().filter(|(_, source)| *source == Source::Session);
        for (number, _) in sessions {
            self.members[*number].take_session(&mut self.buffer)?;
            self.end_turn(*number)?;
        }
        ready.clear();
        self.ready = ready;
        let now_us = os::monotonic_us();
        if now_us - self.ticked_us >= TICK_US {
            self.ticked_us = now_us;
            for number in 0..self.members.len() {
                let member = &self.members[number];
                if member.turn_at_us().is_some_and(|at| at <= now_us) || member.has_output() {
                    self.end_turn(number)?;
                }
            }
        }
        Ok(())
    }

    /// Takes one datagram of a member; others may have theirs as well before it is looked at.
    fn receive(&mut self, number: usize) -> Result<(), LinkError> {
        let mut from = self.staged.last().map_or(0, |(_, at)| at.end);
        if self.stage.len() - from <= DATAGRAM_BYTES_MAX {
            self.deliver()?;
            from = 0;
        }
        if let Some(bytes) = self.members[number].receive(&mut self.stage[from..]) {
            self.staged.push((number, from..from + bytes));
        }
        Ok(())
    }

    /// Gives what was taken to its members. Once a session has ended, the server's port may belong
    /// to another process: one question for all of them, after everything was taken.
    fn deliver(&mut self) -> Result<(), LinkError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let mut staged = std::mem::take(&mut self.staged);
        if Member::any_ended(staged.iter().map(|(number, _)| &self.members[*number])) {
            staged.retain(|(number, _)| !Member::any_ended(self.members.get(*number).into_iter()));
        }
        for (number, at) in staged.drain(..) {
            self.members[number].take_datagram(&mut self.stage[at]);
            self.end_turn(number)?;
        }
        self.staged = staged;
        Ok(())
    }

    fn end_turn(&mut self, number: usize) -> Result<(), LinkError> {
        let member = &mut self.members[number];
        if member.end_turn(&mut self.buffer) {
            member.watch(&mut self.poller, number)?;
        }
        member.skip_events()
    }

    /// Ends all sessions, said goodbye.
    pub fn quit(self) {
        for member in self.members {
            member.quit();
        }
    }
}
