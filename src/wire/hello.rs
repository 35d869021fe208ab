//! The frozen frames: handshake, `stop` and `status`, as JSON objects that every version can read.
//!
//! Keys are only added. A reader ignores what it does not know, so that an old client learns from a
//! new server which versions the two have, can ask for its status and can stop it.

use serde::{Deserialize, Serialize};

use super::frame::PROTOCOL_VERSION;
use crate::{
    chat::{
        frames::{EarlierSubmits, Hello as HubHello},
        member::Kind,
        message::BootId,
        names::Label,
    },
    limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES},
};

/// First frame of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol it speaks.
    pub protocol: u8,
    /// Version of the program, for people.
    #[serde(default)]
    pub version: String,
    /// Label that it wants to have beside its user.
    #[serde(default)]
    pub label: Option<Label>,
    /// Kind of process that it says it is.
    #[serde(default = "script")]
    pub kind: Kind,
    /// Its client instance, 32 hexadecimal digits.
    #[serde(default)]
    pub instance: Hex<16>,
    /// Highest counter that this client instance submitted in earlier sessions; 0 if none.
    #[serde(default)]
    pub submitted: u64,
    /// Wall clock when the oldest of them without an answer was first submitted, microseconds since
    /// 1970; 0: unknown. A server that does not know the instance answers those as unknown, unless
    /// it has a record of everything since then.
    #[serde(default)]
    pub submitted_since_us: i64,
}

fn script() -> Kind {
    Kind::Script
}

impl Hello {
    /// The handshake of this version.
    #[must_use]
    pub fn new(label: Option<Label>, kind: Kind, instance: [u8; 16]) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            protocol: PROTOCOL_VERSION,
            version,
            label,
            kind,
            instance: Hex(instance),
            submitted: 0,
            submitted_since_us: 0,
        }
    }

    /// The part that the hub wants to know.
    #[must_use]
    pub fn for_hub(self) -> HubHello {
        let earlier = EarlierSubmits { highest: self.submitted, since_us: self.submitted_since_us };
        HubHello { label: self.label, kind: self.kind, instance: self.instance.0, earlier }
    }
}

/// Answer of the server when the session begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the protocol.
    pub protocol: u8,
    /// Version of the server's program.
    pub version: String,
    /// This run of the server.
    pub run: BootId,
    /// Number of the session.
    pub session: u64,
    /// Process id of the server.
    pub pid: u32,
    /// Name under which the kernel's user id is known.
    pub user: String,
    /// User id as the kernel says.
    pub uid: u32,
    /// `multicast`, `mailslot` or `session`.
    pub broadcast: String,
    /// Changes when an older history was put back: numbers seen before may come again. 0: unknown.
    #[serde(default)]
    pub epoch: u32,
    /// UDP port that the server sends from (0 where the channel has none), if there is a broadcast
    /// channel.
    #[serde(default)]
    pub source_port: Option<u16>,
}

/// Reason of a refusal. The numbers on the wire are frozen; they are exit codes of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum RefusedCode {
    /// The server could not begin the session at this time.
    Failed,
    /// The handshake had a value that the server does not accept.
    Input,
    /// The user is not permitted.
    Denied,
    /// The two programs speak different versions of the protocol.
    Version,
    /// A number that this version does not know.
    Other(u8),
}

impl RefusedCode {
    /// Returns true if another try would not change the answer.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Denied | Self::Version => true,
            Self::Failed | Self::Input | Self::Other(_) => false,
        }
    }
}

impl From<u8> for RefusedCode {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Failed,
            2 => Self::Input,
            4 => Self::Denied,
            7 => Self::Version,
            other => Self::Other(other),
        }
    }
}

impl From<RefusedCode> for u8 {
    fn from(code: RefusedCode) -> Self {
        match code {
            RefusedCode::Failed => 1,
            RefusedCode::Input => 2,
            RefusedCode::Denied => 4,
            RefusedCode::Version => 7,
            RefusedCode::Other(other) => other,
        }
    }
}

/// A code in a [`Bye`]: 0 if there is none.
mod optional_code {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::RefusedCode;

    pub fn serialize<S: Serializer>(code: &Option<RefusedCode>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(code.map_or(0, u8::from))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<RefusedCode>, D::Error> {
        let number = u8::deserialize(from)?;
        Ok((number != 0).then(|| number.into()))
    }
}

/// Answer of the server when the session does not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Reason of the refusal.
    pub code: RefusedCode,
    /// Cause of the refusal, and the next step.
    pub text: String,
    /// Version of the server's protocol.
    pub protocol: u8,
    /// Version of the server's program.
    pub version: String,
}

/// Why the server ends a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// Reason of the end, in words.
    pub reason: String,
    /// Reason why the client is not to come back; `None` if it may. The number 0 on the wire.
    #[serde(default, with = "optional_code")]
    pub code: Option<RefusedCode>,
}

impl Refused {
    /// Returns a refusal of this version.
    #[must_use]
    pub fn new(code: RefusedCode, text: String) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { code, text, protocol: PROTOCOL_VERSION, version }
    }
}

impl Bye {
    /// The refusal that it comes to for a client, if it is not to come back.
    #[must_use]
    pub fn refusal(&self) -> Option<Refused> {
        self.code.map(|code| Refused::new(code, self.reason.clone()))
    }
}

/// Bytes as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Hex<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> std::fmt::Debug for Hex<N> {
    // Keys must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hex<{N}>(..)")
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        to.serialize_str(&digits)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(from)?;
        let wrong = || serde::de::Error::custom(format!("expected {} hexadecimal digits", N * 2));
        let digits: Vec<_> =
            digits.chars().map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or_else(wrong)?;
        if digits.len() != N * 2 {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Writes a frozen body.
///
/// # Panics
/// If it does not fit into a frame; the types above are bounded far below that.
pub fn put<T: Serialize>(to: &mut Vec<u8>, body: &T) {
    let before = to.len();
    serde_json::to_writer(&mut *to, body).expect("these types serialise");
    assert!(to.len() - before <= FRAME_BYTES_MAX - FRAME_HEADER_BYTES);
}

/// Reads a frozen body.
///
/// # Errors
/// Returns the fault of the body, in words.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_frozen() {
        let hello = Hello {
            version: "0.1.0".into(),
            ..Hello::new(Some(Label::new("봇").unwrap()), Kind::Agent, [0xab; 16])
        };
        let mut bytes = Vec::new();
        put(&mut bytes, &hello);
        let golden = r#"{"protocol":1,"version":"0.1.0","label":"봇","kind":"agent","instance":"abababababababababababababababab","submitted":0,"submitted_since_us":0}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), golden);
        assert_eq!(read::<Hello>(&bytes), Ok(hello));
        let of_the_future = br#"{"protocol":9,"colour":"red","version":"9.0"}"#;
        assert_eq!(read::<Hello>(of_the_future).unwrap().protocol, 9);
        let old = br#"{"protocol":1,"instance":"abababababababababababababababab"}"#;
        assert_eq!(read::<Hello>(old).unwrap().for_hub().earlier, EarlierSubmits::default());
        assert!(read::<Hello>(b"{}").is_err());
        assert!(read::<Hello>(br#"{"protocol":1,"instance":"xyz"}"#).is_err());
        assert!(read::<Hello>(br#"{"protocol":1,"label":"a b"}"#).is_err(), "labels are checked");
    }

    #[test]
    fn codes_keep_their_numbers() {
        for (code, number) in [
            (RefusedCode::Failed, 1),
            (RefusedCode::Input, 2),
            (RefusedCode::Denied, 4),
            (RefusedCode::Version, 7),
            (RefusedCode::Other(9), 9),
        ] {
            let version = "0.1.0".to_owned();
            let refused = Refused { version, ..Refused::new(code, "why".to_owned()) };
            let mut bytes = Vec::new();
            put(&mut bytes, &refused);
            let golden =
                format!(r#"{{"code":{number},"text":"why","protocol":1,"version":"0.1.0"}}"#);
            assert_eq!(String::from_utf8(bytes.clone()).unwrap(), golden);
            assert_eq!(read::<Refused>(&bytes), Ok(refused));
            let mut bytes = Vec::new();
            let bye = Bye { reason: "why".to_owned(), code: Some(code) };
            put(&mut bytes, &bye);
            let golden = format!(r#"{{"reason":"why","code":{number}}}"#);
            assert_eq!(String::from_utf8(bytes.clone()).unwrap(), golden);
            assert_eq!(read::<Bye>(&bytes), Ok(bye));
        }
        let bye = Bye { reason: "why".to_owned(), code: None };
        let mut bytes = Vec::new();
        put(&mut bytes, &bye);
        assert_eq!(bytes, br#"{"reason":"why","code":0}"#);
        assert_eq!(read::<Bye>(&bytes).as_ref(), Ok(&bye));
        assert_eq!(read::<Bye>(br#"{"reason":"why"}"#), Ok(bye));
    }
}
