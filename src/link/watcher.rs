//! The member that hears the linked rooms and says that there is something to export.

use std::sync::Arc;

use super::{recent::Recents, report::Reporter, run::Stop};
use crate::{
    chat::{
        linked::{LinkPosition, LinkRequest, LinkedStream},
        message::{BootId, StreamName},
        request::{Begin, Follow, Request},
    },
    client::{Event, Follows, Member, Wake, WakeReceiver},
    os::Places,
    wire::hello::Hello,
};

/// Listens until the link ends. `begins`: the linked streams, and where their exports began.
pub(super) fn run(
    places: Places,
    hello: Hello,
    host: &crate::chat::names::HostName,
    begins: &[(LinkedStream, LinkPosition)],
    recents: &Arc<Recents>,
    (reporter, stop): (&Arc<Reporter>, &Stop),
    wake: &WakeReceiver<()>,
) {
    let mut member = Member::begin(places, hello, follows(begins));
    while !stop.is_set() {
        let event = match member.wait(Some(wake), None) {
            Wake::Event(event) => event,
            Wake::Item(Some(())) | Wake::TimedOut => continue,
            Wake::Item(None) => break,
        };
        match event {
            Event::Ready { streams, .. } => {
                // Not one of those that an announcement is for.
                member.ask(&Request::Link(LinkRequest::Begin { host: host.clone() }));
                for (name, head) in streams {
                    if let Some(stream) = linked(&name, begins) {
                        recents.note_head(stream, head);
                    }
                }
                reporter.recovered("the server of this host");
            }
            Event::Message(message) => recents.push(message),
            Event::End { reason } => reporter.warn("the server of this host", &reason),
            Event::NotFollowed(follow, refusal) => {
                let what = match follow {
                    Follow::Room(room) => format!("room {room}"),
                    Follow::Announcements => "announcements".to_owned(),
                    Follow::With(_) | Follow::AllDirect | Follow::ToMe => continue,
                };
                reporter.warn(&what, &refusal.text);
            }
            Event::Reply(_, Err(refusal)) => stop.fail(refusal.text),
            Event::Ended(refused) => stop.fail(refused.text),
            _ => {}
        }
    }
    member.quit();
}

fn follows(begins: &[(LinkedStream, LinkPosition)]) -> Follows {
    let mut follows = Follows::default();
    for (stream, after) in begins {
        match stream {
            LinkedStream::Room(room) => follows.follow.push(Follow::Room(room.clone())),
            LinkedStream::Announcements => {
                // Rooms are read from the history; of announcements it gives no pages.
                follows.follow.push(Follow::Announcements);
                let begin = Begin::After { run: BootId(0), seq: after.seq };
                follows.begin_of.push((Follow::Announcements, begin));
            }
        }
    }
    follows
}

fn linked<'a>(
    name: &StreamName,
    begins: &'a [(LinkedStream, LinkPosition)],
) -> Option<&'a LinkedStream> {
    begins.iter().map(|(stream, _)| stream).find(|stream| match (stream, name) {
        (LinkedStream::Room(room), StreamName::Room(of)) => room == of,
        (LinkedStream::Announcements, StreamName::Announcements) => true,
        _ => false,
    })
}
