//! Subjects by which links exchange batches, receipts and presence.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

use crate::chat::{
    linked::LinkedStream,
    names::{HostName, RoomName},
};

/// Base32 of RFC 4648 in lower case without padding: a name is one token of a subject.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().expect("32 different letters")
});

/// Subjects of the presence of all hosts.
pub(super) const PRESENCE: &str = "moot.1.p.*";

/// Parts of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Messages of a room, whose folded name is this, or of the announcements (`!`).
    Messages { key: Box<str>, host: HostName },
    /// Receipt of a host for an announcement of another.
    Receipt { origin: HostName, number: u64, host: HostName },
    /// Sessions of a host.
    Presence { host: HostName },
}

/// Returns the subject on which a host publishes the messages of a stream.
pub(super) fn of_stream(stream: &LinkedStream, host: &HostName) -> String {
    match stream {
        LinkedStream::Room(room) => {
            format!("moot.1.r.{}.{host}", BASE32.encode(room.key().as_bytes()))
        }
        LinkedStream::Announcements => format!("moot.1.n.{host}"),
    }
}

/// Returns the subjects of a stream from all hosts.
pub(super) fn of_all_hosts(stream: &LinkedStream) -> String {
    match stream {
        LinkedStream::Room(room) => format!("moot.1.r.{}.*", BASE32.encode(room.key().as_bytes())),
        LinkedStream::Announcements => "moot.1.n.*".to_owned(),
    }
}

/// Returns the subject of the receipts of a host for an announcement.
pub(super) fn of_receipt(origin: &HostName, number: u64, host: &HostName) -> String {
    format!("moot.1.a.{origin}.{number}.{host}")
}

/// Returns the subjects of all receipts for the announcements of a host.
pub(super) fn of_receipts_for(origin: &HostName) -> String {
    format!("moot.1.a.{origin}.>")
}

/// Returns the subject of the presence of a host.
pub(super) fn of_presence(host: &HostName) -> String {
    format!("moot.1.p.{host}")
}

/// Reads a subject; none if no link publishes on it.
pub(super) fn read(subject: &str) -> Option<Subject> {
    let host = |token: &str| HostName::new(token).ok();
    let tokens: Vec<_> = subject.split('.').collect();
    Some(match tokens[..] {
        ["moot", "1", "r", room, of] => {
            let key = String::from_utf8(BASE32.decode(room.as_bytes()).ok()?).ok()?;
            // Only a folded name has this form.
            let key = RoomName::existing(&key).ok().filter(|room| room.key() == key)?;
            Subject::Messages { key: key.key().into(), host: host(of)? }
        }
        ["moot", "1", "n", of] => {
            let key = LinkedStream::Announcements.key().into();
            Subject::Messages { key, host: host(of)? }
        }
        ["moot", "1", "a", origin, number, of] => Subject::Receipt {
            origin: host(origin)?,
            number: number.parse().ok()?,
            host: host(of)?,
        },
        ["moot", "1", "p", of] => Subject::Presence { host: host(of)? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_they_are_written() {
        let (web, db) = (HostName::new("web1").unwrap(), HostName::new("db1").unwrap());
        for name in ["dev", "Dev", "회의", "a.b-c_d"] {
            let room = RoomName::new(name).unwrap();
            let stream = LinkedStream::Room(room.clone());
            let subject = of_stream(&stream, &web);
            assert_eq!(subject.split('.').count(), 5, "{subject}");
            assert!(subject.is_ascii(), "{subject}");
            let read = read(&subject);
            let key = room.key().into();
            assert_eq!(read, Some(Subject::Messages { key, host: web.clone() }));
        }
        assert_eq!(
            of_stream(&LinkedStream::Room(RoomName::new("dev").unwrap()), &web),
            "moot.1.r.mrsxm.web1"
        );
        let receipt = Subject::Receipt { origin: web.clone(), number: 7, host: db.clone() };
        assert_eq!(read(&of_receipt(&web, 7, &db)), Some(receipt));
        assert_eq!(read(&of_presence(&web)), Some(Subject::Presence { host: web }));
        for bad in [
            "moot.1.r.mrsxm",
            "moot.1.r.MRSXM.web1",
            "moot.1.r.irsxm.web1.x",
            "moot.1.r.irsxm.WEB1",
            "moot.1.r.irsxm.web1",
            "moot.2.r.mrsxm.web1",
            "moot.1.n.",
            "moot.1.a.web1.-1.db1",
        ] {
            assert_eq!(read(bad), None, "{bad}: `Dev` is no folded name");
        }
    }
}
