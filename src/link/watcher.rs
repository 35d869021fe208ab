//! The member that receives the linked rooms and reports new messages to the exporter.

use std::time::{Duration, Instant};

use super::{recent::Recents, report::Reporter, signals::LinkSignals};
use crate::{
    chat::{
        linked::{LinkRequest, LinkedStream},
        message::StreamName,
        names::{HostName, RoomName},
        request::{Follow, Request},
    },
    client::{Event, Follows, Member, Wake, WakeReceiver},
    os::Places,
    wire::hello::Hello,
};

/// Interval between attempts to follow a lost room again.
const FOLLOW_AGAIN: Duration = Duration::from_secs(5);

/// Member of one link. See the head of this file.
pub(super) struct Watcher<'a> {
    pub(super) host: &'a HostName,
    pub(super) streams: &'a [LinkedStream],
    pub(super) recents: &'a Recents,
    pub(super) reporter: &'a Reporter,
    pub(super) stop: &'a LinkSignals,
}

impl Watcher<'_> {
    /// Listens until the link ends.
    pub(super) fn run(&self, places: Places, hello: Hello, wake: &WakeReceiver<()>) {
        let follow = self.streams.iter().map(follow_of).collect();
        let mut member = Member::begin(places, hello, Follows { follow, ..Follows::default() });
        let mut again_at = Instant::now();
        while !self.stop.is_set() {
            match member.wait(Some(wake), Some(again_at.max(Instant::now()))) {
                Wake::Event(event) => self.take(&mut member, event),
                Wake::Item(Some(())) => {}
                Wake::TimedOut => {
                    again_at = Instant::now() + FOLLOW_AGAIN;
                    self.follow_again(&mut member);
                }
                Wake::Item(None) => break,
            }
        }
        member.quit();
    }

    /// Follows lost streams again, once the exporter has permitted it.
    fn follow_again(&self, member: &mut Member) {
        for stream in self.recents.lost(self.streams.iter()) {
            if self.recents.may_return(stream) {
                member.follow(follow_of(stream));
            }
        }
    }

    fn take(&self, member: &mut Member, event: Event) {
        match event {
            Event::Ready { streams, .. } => {
                // Not one of those that an announcement is for.
                member.ask(&Request::Link(LinkRequest::Begin { host: self.host.clone() }));
                for (name, head) in streams {
                    if let Some(stream) = self.linked(&name) {
                        self.recents.begin(stream, head);
                    }
                }
                self.reporter.recovered("the server of this host");
            }
            Event::Message(message) => self.recents.push(message),
            // The numbers start over, or some of them can't be heard: the history has them.
            Event::Gap { stream, .. } => {
                if let Some(stream) = self.linked(&stream) {
                    self.recents.begin(stream, 0);
                }
            }
            Event::Deleted { room } => self.left(&room, "deleted here"),
            Event::Removed { room, by, .. } => {
                self.left(&room, &format!("{by} removed this link from it"));
            }
            Event::End { reason } => self.reporter.warn("the server of this host", &reason),
            Event::NotFollowed(Follow::Room(room), refusal) => self.left(&room, &refusal.text),
            Event::NotFollowed(_, refusal) => {
                self.reporter.warn("announcements", &refusal.text);
            }
            Event::Reply(_, Err(refusal)) => self.stop.fail(refusal.text),
            Event::Ended(refused) => self.stop.fail(refused.text),
            _ => {}
        }
    }

    fn left(&self, room: &RoomName, why: &str) {
        self.reporter.warn(&format!("room {room}"), why);
        self.recents.lose(&LinkedStream::Room(room.clone()));
    }

    fn linked(&self, name: &StreamName) -> Option<&LinkedStream> {
        self.streams.iter().find(|stream| match (stream, name) {
            (LinkedStream::Room(room), StreamName::Room(of)) => room == of,
            (LinkedStream::Announcements, StreamName::Announcements) => true,
            _ => false,
        })
    }
}

fn follow_of(stream: &LinkedStream) -> Follow {
    match stream {
        LinkedStream::Room(room) => Follow::Room(room.clone()),
        LinkedStream::Announcements => Follow::Announcements,
    }
}
