//! The thread that talks: has a session when it can, sends texts that are due, and never blocks
//! other threads.

use std::time::{Duration, Instant};

use super::outbox::Shared;
use crate::{
    chat::{
        member::Kind,
        names::Target,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::{Follow, Request},
        text::Text,
    },
    client::{Event, Follows, LinkError, Member, Wake, WakeReceiver},
    command::{
        connect::Context,
        exit_code::{Exit, Failure},
        output::Output,
    },
    limits::{ANSWER_MS_DEFAULT, TEXT_BYTES_MAX, UNACKED_SUBMITS_MAX},
};

/// Bytes said and not acknowledged above which what comes waits in the outbox: that has a bound.
const UNACKED_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

/// Says what is in the outbox.
pub(super) struct Talker {
    pub(super) context: Context,
    pub(super) target: Target,
    pub(super) kind: Kind,
    pub(super) will: Option<Text>,
    pub(super) shared: Shared,
}

/// State of the session.
#[derive(Debug, Default)]
struct TalkState {
    /// Destination of the texts, while a session exists.
    address: Option<Target>,
    /// There was one.
    was_ready: bool,
    /// Nothing more can be sent, and that was reported.
    is_silent: bool,
    /// No user of that name can be reached in this session.
    is_unreachable: bool,
    /// A refusal was reported; it is not reported again.
    is_told: bool,
    /// After the end, one last try to connect was made.
    tried_last: bool,
}

impl Talker {
    /// Talks until everything is sent and acknowledged, or nothing more can be sent.
    pub(super) fn run(mut self, letters: &WakeReceiver<()>) {
        let mut standing = TalkState::default();
        let Some(mut member) = self.begin(&mut standing) else { return };
        // What others say there is not for us.
        member.tap(|_| {});
        loop {
            let until = self.say(&mut member, &standing);
            if self.shared.lock().has_ended() && self.is_done(&mut member, &mut standing) {
                break;
            }
            match member.wait(Some(letters), until) {
                Wake::Event(event) => self.take_event(&mut member, &mut standing, event),
                Wake::Item(_) | Wake::TimedOut => {}
            }
        }
        member.say_good_bye();
    }

    /// Connects, or starts a server as `join` does; if that fails, it is tried again for as long as
    /// the command runs.
    fn begin(&mut self, standing: &mut TalkState) -> Option<Member> {
        self.shared.set_starting(true);
        let connected = self.context.connect_or_start();
        self.shared.set_starting(false);
        let begun = match &connected {
            Ok((_, places)) => Ok(places.clone()),
            Err(_) => self.context.places(),
        };
        let begun = begun.and_then(|places| Ok((places, self.context.hello(self.kind)?)));
        let (places, hello) = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                self.warn(&failure);
                return None;
            }
        };
        let follow = match &self.target {
            Target::Room(room) => Follow::Room(room.clone()),
            Target::User { user, .. } => Follow::With(user.clone()),
        };
        let follows =
            Follows { follow: vec![follow], will: self.will.take(), ..Follows::default() };
        let mut member = Member::begin(places, hello, follows);
        let adopted = match connected {
            Ok((connection, _)) => {
                let within = Duration::from_millis(ANSWER_MS_DEFAULT);
                member.adopt(connection, within).map_err(|e| (is_for_good(&e), Failure::from(e)))
            }
            Err(failure) => Err((false, failure)),
        };
        if let Err((is_for_good, failure)) = adopted {
            standing.is_silent = is_for_good;
            let text = format!("{}; the command continues", failure.text);
            self.warn(&Failure { text, ..failure });
        }
        Some(member)
    }

    /// Says what is due, as far as it may; until when there is nothing more to be said.
    fn say(&self, member: &mut Member, standing: &TalkState) -> Option<Instant> {
        let address = standing.address.as_ref().filter(|_| member.is_ready())?;
        let mut outbox = self.shared.lock();
        while member.unacked_bytes() < UNACKED_BYTES_MAX
            && member.unacked() < UNACKED_SUBMITS_MAX / 2
        {
            match outbox.next(Instant::now()) {
                Some(text) => {
                    // It is neither empty nor longer than a message may be.
                    if let Ok(text) = text.try_into() {
                        member.say(address.clone(), None, text);
                    }
                }
                None => return outbox.due(),
            }
        }
        // Until some of it is acknowledged.
        None
    }

    fn take_event(&self, member: &mut Member, standing: &mut TalkState, event: Event) {
        match event {
            // Where it was thrown out it says nothing more.
            Event::Ready { .. } if standing.is_silent => {}
            Event::Ready { .. } => {
                standing.was_ready = true;
                standing.is_unreachable = false;
                match &self.target {
                    target @ Target::Room(_) => standing.address = Some(target.clone()),
                    // Whether a session of theirs is there is asked each time.
                    target @ Target::User { .. } => {
                        member.ask(&Request::Open { target: target.clone() });
                    }
                }
            }
            Event::End { .. } => standing.address = None,
            Event::Sent(_) => self.shared.lock().stands(),
            Event::Rejected(refusal) if refusal.code == RefusalCode::UnknownSubmit => {
                self.shared.lock().drop_unknown();
                self.warn(&refusal.into());
            }
            Event::Rejected(refusal) => self.tell_once(standing, refusal),
            Event::NotFollowed(_, refusal) => self.fall_silent(standing, &refusal.into()),
            Event::Ended(refused) => self.fall_silent(standing, &refused.into()),
            Event::Reply(_, result) => self.take_reply(standing, result),
            Event::Removed { room, by, .. } => {
                let text = format!("{by} removed this session from {room}");
                self.fall_silent(standing, &Failure::new(Exit::Denied, text));
            }
            Event::Deleted { room } => {
                let text = format!("{room} was deleted");
                self.fall_silent(standing, &Failure::new(Exit::Absent, text));
            }
            Event::Message(_)
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Topic { .. }
            | Event::Cancelled { .. }
            | Event::Invited { .. }
            | Event::Gap { .. }
            | Event::Offer { .. }
            | Event::Answered { .. }
            | Event::Abandoned { .. }
            | Event::Slowed => {}
        }
    }

    fn take_reply(&self, standing: &mut TalkState, result: Result<Reply, Refusal>) {
        match (result, &self.target) {
            (Ok(Reply::Opened(_)), target @ Target::User { .. }) => {
                standing.address = Some(target.clone());
            }
            (Ok(_), _) => {}
            // With the next session it is asked again.
            (Err(refusal), _) => {
                standing.is_unreachable = true;
                self.tell_once(standing, refusal);
            }
        }
    }

    /// Returns true if there is nothing more to wait for.
    fn is_done(&self, member: &mut Member, standing: &mut TalkState) -> bool {
        if standing.is_silent {
            return true;
        }
        if member.unacked() == 0 && self.shared.lock().is_empty() {
            // Acknowledged messages may still have to be counted.
            return member.is_quiet();
        }
        if standing.was_ready || member.is_connected() {
            // Threads that wait for this one have a bound.
            return member.is_ready() && standing.is_unreachable;
        }
        let is_last = standing.tried_last;
        if !is_last {
            standing.tried_last = true;
            member.hurry();
            let _ = member.wait::<()>(None, Some(Instant::now()));
        }
        !member.is_connected()
    }

    fn fall_silent(&self, standing: &mut TalkState, failure: &Failure) {
        if !standing.is_silent {
            let text =
                format!("{}; further messages to {} are not sent", failure.text, self.target);
            self.warn(&Failure::new(failure.exit, text));
        }
        standing.is_silent = true;
        standing.address = None;
    }

    fn tell_once(&self, standing: &mut TalkState, refusal: Refusal) {
        if !standing.is_told && !standing.is_silent {
            self.warn(&refusal.into());
        }
        standing.is_told = true;
    }

    fn warn(&self, failure: &Failure) {
        Output::error(failure, self.context.global.json);
    }
}

fn is_for_good(e: &LinkError) -> bool {
    matches!(e, LinkError::Refused(refused) if refused.code.is_final())
}
