//! Replies to chat commands, explained: a sentence, a list, or the request for its next page.

use super::plan::{CommandPurpose, count};
use crate::{
    chat::{
        names::RoomName,
        reply::{Reply, RoomInfo, WhoInfo},
        request::Request,
        text::counted,
    },
    tui::sentences,
};

/// Meaning of a reply to a chat command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Explained {
    /// Nothing that needs a sentence.
    Quiet,
    /// The user is away from now on, or back.
    Away(bool),
    /// A sentence for the user.
    Sentence(String),
    /// An announcement was made; the sentence names its number, which is needed to cancel it.
    Announced(String),
    /// All rooms that the user can see.
    Rooms(Vec<RoomInfo>),
    /// All members of a room, session by session.
    Members(RoomName, Vec<WhoInfo>),
    /// A room has this topic from now on.
    Topic(RoomName, String),
    /// The announcement of this number is acknowledged.
    Acknowledged(u64),
    /// The reply was a part of a list; the request for the next one.
    More(Request, CommandPurpose),
}

/// Returns the meaning of a reply.
pub(crate) fn explain(purpose: CommandPurpose, reply: Reply) -> Explained {
    match (purpose, reply) {
        (CommandPurpose::Away(away), _) => Explained::Away(away),
        (CommandPurpose::Change(text), _) => Explained::Sentence(text),
        (CommandPurpose::Rooms(mut rooms), Reply::Rooms { rooms: page, more }) => {
            rooms.extend(page);
            if more { further(CommandPurpose::more_rooms(rooms)) } else { Explained::Rooms(rooms) }
        }
        (CommandPurpose::Members(room, mut members), Reply::Who { who, more }) => {
            members.extend(who);
            match more {
                true => further(CommandPurpose::more_members(room, members)),
                false => Explained::Members(room, members),
            }
        }
        (CommandPurpose::ShowTopic(room, before), Reply::Rooms { rooms, more }) => {
            match rooms.iter().find(|info| info.name == room) {
                None if more => further(CommandPurpose::show_topic(room, before + count(&rooms))),
                info => {
                    let topic = info.map_or("", |info| info.topic.as_str());
                    Explained::Sentence(sentences::current_topic(&room, topic))
                }
            }
        }
        (CommandPurpose::SetTopic(room, topic), _) => Explained::Topic(room, topic),
        (CommandPurpose::Announce, Reply::Announced { number, members, hosts }) => {
            let members = counted(members.into(), "member");
            let to = match hosts {
                0 => members,
                hosts => format!("{members} and {}", counted(hosts.into(), "linked host")),
            };
            Explained::Announced(format!("announced to {to} as !{number}"))
        }
        (CommandPurpose::Acknowledge(number), _) => Explained::Acknowledged(number),
        (
            CommandPurpose::Quiet
            | CommandPurpose::Rooms(_)
            | CommandPurpose::Members(..)
            | CommandPurpose::ShowTopic(..)
            | CommandPurpose::Announce,
            _,
        ) => Explained::Quiet,
    }
}

fn further((request, purpose): (Request, CommandPurpose)) -> Explained {
    Explained::More(request, purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, topic: &str) -> RoomInfo {
        RoomInfo {
            name: RoomName::new(name).unwrap(),
            topic: topic.to_owned(),
            private: false,
            read_only: false,
            stored: true,
            members: 1,
            last: 0,
            last_wall_us: None,
        }
    }

    fn page(names: &[&str], more: bool) -> Reply {
        let rooms = names.iter().map(|name| info(name, "plans")).collect();
        Reply::Rooms { rooms, more }
    }

    #[test]
    fn pages_are_joined_until_the_last_one() {
        let (request, purpose) = CommandPurpose::rooms();
        assert_eq!(request, Request::Rooms { skip: 0 });
        let Explained::More(request, purpose) = explain(purpose, page(&["a", "b"], true)) else {
            panic!("expected a request for the second page")
        };
        assert_eq!(request, Request::Rooms { skip: 2 });
        let Explained::Rooms(rooms) = explain(purpose, page(&["c"], false)) else {
            panic!("expected all rooms")
        };
        assert_eq!(
            rooms.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn topic_is_looked_for_in_all_pages() {
        let room = RoomName::new("c").unwrap();
        let (_, purpose) = CommandPurpose::show_topic(room, 0);
        let Explained::More(request, purpose) = explain(purpose, page(&["a", "b"], true)) else {
            panic!("expected a request for the second page")
        };
        assert_eq!(request, Request::Rooms { skip: 2 });
        let found = explain(purpose.clone(), page(&["c"], false));
        assert_eq!(found, Explained::Sentence("topic of c: plans".to_owned()));
        let Explained::Sentence(text) = explain(purpose, page(&["d"], false)) else {
            panic!("expected a sentence")
        };
        assert!(text.contains("no topic"), "{text}");
    }
}
