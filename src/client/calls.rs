//! The requests of a session, each of which gets exactly one answer.

use std::collections::BTreeMap;

use crate::{
    chat::{
        names::{RoomName, Target, UserName},
        request::{Follow, Request},
    },
    wire::control,
};

/// Purpose of a request: decides what becomes of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The caller waits for the answer.
    Asked,
    /// The caller waits for the answer, which opens a conversation.
    AskedToOpen(UserName),
    /// Opens a conversation for texts that wait.
    Open(UserName),
    /// Subscribes to a stream.
    Join(Follow),
    /// Leaves the last will.
    Will,
}

impl Purpose {
    /// Returns the purpose of a request of the caller.
    pub fn of_caller(request: &Request) -> Self {
        if let Request::Open { target: Target::User { user, .. } } = request {
            return Self::AskedToOpen(user.clone());
        }
        Self::Asked
    }
}

/// Requests without an answer, by serial number.
#[derive(Debug, Default)]
pub(super) struct Calls {
    serial: u32,
    pending: BTreeMap<u32, Purpose>,
}

impl Calls {
    /// Returns a serial number for a request that can't be sent.
    pub fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Writes a request and returns its serial number.
    pub fn send(&mut self, out: &mut Vec<u8>, request: &Request, purpose: Purpose) -> u32 {
        let serial = self.next_serial();
        control::put_request(out, serial, request);
        self.pending.insert(serial, purpose);
        serial
    }

    /// Writes a request whose answer changes nothing.
    pub fn send_silently(&mut self, out: &mut Vec<u8>, request: &Request) {
        let serial = self.next_serial();
        control::put_request(out, serial, request);
    }

    /// Removes an answered request and returns its purpose, if the answer has one.
    pub fn answered(&mut self, serial: u32) -> Option<Purpose> {
        self.pending.remove(&serial)
    }

    /// Returns true while a conversation is being opened.
    pub fn is_opening(&self, user: &UserName) -> bool {
        self.openings().any(|(_, with)| with == user)
    }

    /// Returns the requests for conversations without an answer.
    pub fn openings(&self) -> impl Iterator<Item = (u32, &UserName)> {
        self.pending.iter().filter_map(|(serial, purpose)| match purpose {
            Purpose::Open(with) | Purpose::AskedToOpen(with) => Some((*serial, with)),
            Purpose::Asked | Purpose::Join(_) | Purpose::Will => None,
        })
    }

    /// Returns true while a room is being joined.
    pub fn is_joining(&self, room: &RoomName) -> bool {
        self.joins().any(|(_, follow)| matches!(follow, Follow::Room(of) if of == room))
    }

    /// Returns the joins without an answer, in the order in which they were sent.
    pub fn joins(&self) -> impl Iterator<Item = (u32, &Follow)> {
        self.pending.iter().filter_map(|(serial, purpose)| match purpose {
            Purpose::Join(follow) => Some((*serial, follow)),
            Purpose::Asked | Purpose::AskedToOpen(_) | Purpose::Open(_) | Purpose::Will => None,
        })
    }

    /// Ends the session: returns the requests whose answers the caller waits for in vain.
    pub fn end(&mut self) -> Vec<u32> {
        let pending = std::mem::take(&mut self.pending).into_iter();
        let asked = pending.filter(|(_, purpose)| match purpose {
            Purpose::Asked | Purpose::AskedToOpen(_) => true,
            Purpose::Open(_) | Purpose::Join(_) | Purpose::Will => false,
        });
        asked.map(|(serial, _)| serial).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::request::SessionRequest;

    #[test]
    fn each_request_is_answered_once() {
        let (mut calls, mut out) = (Calls::default(), Vec::new());
        let rooms = Request::Rooms { skip: 0 };
        let asked = calls.send(&mut out, &rooms, Purpose::of_caller(&rooms));
        calls.send_silently(&mut out, &Request::Session(SessionRequest::Quit));
        let lost = calls.send(&mut out, &rooms, Purpose::of_caller(&rooms));
        let dev = RoomName::new("dev").unwrap();
        calls.send(&mut out, &rooms, Purpose::Join(Follow::Room(dev.clone())));
        assert!(calls.is_joining(&dev) && calls.joins().count() == 1);
        assert_eq!(calls.answered(asked), Some(Purpose::Asked));
        assert_eq!(calls.answered(asked), None);
        assert_eq!(calls.answered(asked + 1), None, "silent");
        assert_eq!(calls.end(), [lost]);
        assert!(calls.end().is_empty() && !calls.is_joining(&dev));
        assert!(calls.next_serial() > lost);
    }

    #[test]
    fn conversation_opens_by_any_request_for_it() {
        let (mut calls, mut out) = (Calls::default(), Vec::new());
        let bob = UserName::new("bob").unwrap();
        let target = Target::User { user: bob.clone(), label: None };
        let open = Request::Open { target };
        let first = calls.send(&mut out, &open, Purpose::of_caller(&open));
        let second = calls.send(&mut out, &open, Purpose::Open(bob.clone()));
        calls.answered(first);
        assert!(calls.is_opening(&bob));
        calls.answered(second);
        assert!(!calls.is_opening(&bob));
    }
}
