//! Names of rooms, labels and users: parsed once at the border, compared by NFC and full case
//! folding.

use std::{fmt, sync::Arc};

use caseless::Caseless;
use serde::{Deserialize, Deserializer, Serialize, de};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::limits::{HOST_BYTES_MAX, NAME_BYTES_MAX, USER_BYTES_MAX};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a name can't be empty")]
    Empty,
    /// Longer than the limit.
    #[error("the name has {bytes} bytes (limit {max})")]
    TooLong {
        /// Bytes of UTF-8 that were given.
        bytes: usize,
        /// Maximum length, in bytes.
        max: usize,
    },
    /// A character that names do not have.
    #[error(
        "a name can't contain '{}' (byte {at}); use letters, digits, '.', '_' or '-'",
        .found.escape_debug()
    )]
    Character {
        /// Byte offset of the character.
        at: usize,
        /// Character that names can't have.
        found: char,
    },
    /// A character that is not visible: two names with and without it look the same.
    #[error(
        "a new name can't contain the invisible character {} (byte {at}); leave it out",
        .found.escape_unicode()
    )]
    Invisible {
        /// Byte offset of the character.
        at: usize,
        /// Invisible character that was found.
        found: char,
    },
    /// A character that names of hosts do not have.
    #[error(
        "the name of a host can't contain '{}' (byte {at}); use lower-case letters, digits, '_' \
         or '-'",
        .found.escape_debug()
    )]
    Host {
        /// Byte offset of the character.
        at: usize,
        /// Character that names of hosts can't have.
        found: char,
    },
    /// The first character must be a letter or a digit.
    #[error("a name must start with a letter or a digit")]
    Start,
}

/// Characters with the property `Default_Ignorable_Code_Point`, from `DerivedCoreProperties.txt` of
/// Unicode 16; a test compares them with the table of another crate.
const DEFAULT_IGNORABLE: [(char, char); 17] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Letters and marks that are drawn as nothing although they do not have that property.
const BLANK: [char; 3] = ['\u{13441}', '\u{13442}', '\u{16fe4}'];

/// Returns true if a character of a name is not visible.
fn is_invisible(c: char) -> bool {
    !c.is_ascii()
        && (BLANK.contains(&c) || DEFAULT_IGNORABLE.iter().any(|(a, b)| (*a..=*b).contains(&c)))
}

/// Reads a name as [`fmt::Display`] writes it: an invisible character is written as `\u{fe0f}`.
fn unescape(written: &str) -> String {
    let mut name = String::with_capacity(written.len());
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("\\u{") {
        let escaped = after.split_once('}').and_then(|(code, after)| {
            let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
            is_invisible(c).then_some((c, after))
        });
        // A part that is not an escape is refused as a character that names do not have.
        let Some((c, after)) = escaped else { break };
        name.push_str(before);
        name.push(c);
        rest = after;
    }
    name + rest
}

fn is_letter_or_digit(c: char) -> bool {
    if c.is_ascii() {
        // Most are, and the tables are slow.
        return c.is_ascii_alphanumeric();
    }
    c.general_category_group() == GeneralCategoryGroup::Letter
        || c.general_category() == GeneralCategory::DecimalNumber
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len(), max: NAME_BYTES_MAX });
    }
    for (at, c) in name.char_indices() {
        let is_mark = || !c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Mark;
        if !(is_letter_or_digit(c) || matches!(c, '.' | '_' | '-') || is_mark()) {
            return Err(NameError::Character { at, found: c });
        }
    }
    if !name.chars().next().is_some_and(is_letter_or_digit) {
        return Err(NameError::Start);
    }
    Ok(())
}

/// The form in which names are compared: NFC of the full case folding of the NFD.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfd().default_case_fold().nfc().collect()
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            shown: Arc<str>,
            /// Key for comparisons; the same text as `shown` if that is its own key.
            key: Arc<str>,
        }

        impl $name {
            /// Parses and checks a name, which may be a new one.
            ///
            /// # Errors
            /// Returns the first fault of the name, with the byte offset.
            pub fn new(name: &str) -> Result<Self, NameError> {
                let name = Self::existing(name)?;
                name.check_new().map(|()| name)
            }

            /// Parses a name that was given already: earlier versions allowed invisible characters.
            ///
            /// # Errors
            /// Returns the first fault of the name, with the byte offset.
            pub fn existing(name: &str) -> Result<Self, NameError> {
                check(name)?;
                let shown: Arc<str> = name.into();
                if name.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
                    return Ok(Self { key: Arc::clone(&shown), shown });
                }
                Ok(Self { shown, key: fold(name).into() })
            }

            /// Checks that the name may be given to something new.
            ///
            /// # Errors
            /// Returns `Invisible` if a character of it can't be seen.
            pub fn check_new(&self) -> Result<(), NameError> {
                match self.shown.char_indices().find(|(_, c)| is_invisible(*c)) {
                    Some((at, found)) => Err(NameError::Invisible { at, found }),
                    None => Ok(()),
                }
            }

            /// As it was first written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.shown
            }

            /// Returns the key that two spellings of the same name share.
            #[must_use]
            pub fn key(&self) -> &str {
                &self.key
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.key == other.key
            }
        }
        impl Eq for $name {}
        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.key.hash(state);
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.key.cmp(&other.key)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for part in self.shown.split_inclusive(is_invisible) {
                    match part.chars().next_back().filter(|c| is_invisible(*c)) {
                        Some(c) => {
                            f.write_str(&part[..part.len() - c.len_utf8()])?;
                            write!(f, "{}", c.escape_unicode())?;
                        }
                        None => f.write_str(part)?,
                    }
                }
                Ok(())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.shown)
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            /// Reads what [`fmt::Display`] writes.
            fn from_str(written: &str) -> Result<Self, NameError> {
                Self::existing(&unescape(written))
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.shown)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(NameVisitor)
                    .and_then(|name| Self::existing(&name).map_err(de::Error::custom))
            }
        }
    };
}

/// Takes a borrowed or an owned string, so that one type serves frames and configuration alike.
struct NameVisitor;

impl de::Visitor<'_> for NameVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        Ok(name.to_owned())
    }
}

name_type!(
    /// Name of a room.
    RoomName
);
name_type!(
    /// Part after the user in `user/label`.
    Label
);

/// Name of an operating-system user as the kernel's user id was looked up, or `#1000` where it has
/// none. A user of a linked host is `ann@db1`: no local user has such a name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct UserName(Arc<str>);

impl UserName {
    /// Parses the name of a user of this host or of a linked one.
    ///
    /// # Errors
    /// Returns an error if it is empty, too long, or has a character that would make a target
    /// ambiguous or command a terminal.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let Some((user, host)) = name.split_once('@') else { return Self::local(name) };
        if name.len() > USER_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len(), max: USER_BYTES_MAX });
        }
        Self::local(user)?;
        HostName::new(host)?;
        Ok(Self(name.into()))
    }

    /// Creates the name of a user of a linked host.
    ///
    /// # Errors
    /// Returns an error if both together are too long, or the user is one of another host.
    pub fn remote(user: &Self, host: &HostName) -> Result<Self, NameError> {
        Self::new(&format!("{user}@{host}"))
    }

    /// Takes a name of this host, from the system's user database.
    ///
    /// # Errors
    /// Returns an error as [`UserName::new`] does, and for a name with an `@`.
    pub fn local(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > USER_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len(), max: USER_BYTES_MAX });
        }
        for (at, c) in name.char_indices() {
            let bad =
                c == '/' || c == '@' || c == ':' || c == '!' || c.is_control() || c.is_whitespace();
            let format = !c.is_ascii() && c.general_category() == GeneralCategory::Format;
            // A blank of Braille is seen as little as a filler.
            if bad || format || is_invisible(c) || c == '\u{2800}' {
                return Err(NameError::Character { at, found: c });
            }
        }
        Ok(Self(name.into()))
    }

    /// The name of a user id that has none.
    #[must_use]
    pub fn of_uid(uid: u32) -> Self {
        Self(format!("#{uid}").into())
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the linked host of the user; none for a user of this host.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, host)| host)
    }
}

/// Name of a linked host: lower-case ASCII letters, digits, `-` and `_`, no dots. It is one part of
/// the subjects by which links exchange messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Parses the name of a host.
    ///
    /// # Errors
    /// Returns the first fault of the name, with the byte offset.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > HOST_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len(), max: HOST_BYTES_MAX });
        }
        let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bad = |(_, c): &(usize, char)| !is_alphanumeric(*c) && !matches!(c, '-' | '_');
        if let Some((at, found)) = name.char_indices().find(bad) {
            return Err(NameError::Host { at, found });
        }
        if !name.starts_with(is_alphanumeric) {
            return Err(NameError::Start);
        }
        Ok(Self(name.into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::str::FromStr for HostName {
    type Err = NameError;
    fn from_str(written: &str) -> Result<Self, NameError> {
        Self::new(written)
    }
}
impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(NameVisitor)
            .and_then(|name| Self::new(&name).map_err(de::Error::custom))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(NameVisitor)
            .and_then(|name| Self::new(&name).map_err(de::Error::custom))
    }
}

/// Name of a session as others see it: `ann`, or `ann/ci` with a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle {
    pub user: UserName,
    pub label: Option<Label>,
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_handle(f, &self.user, self.label.as_ref())
    }
}

/// Writes a handle whose parts are owned by another value.
pub(super) fn fmt_handle(
    f: &mut fmt::Formatter<'_>,
    user: &UserName,
    label: Option<&Label>,
) -> fmt::Result {
    match label {
        None => write!(f, "{user}"),
        Some(label) => write!(f, "{user}/{label}"),
    }
}

/// Destination of a message: `room`, `@user`, `@user/label` (also written `user:ann`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    Room(RoomName),
    /// A user, or those sessions of a user that carry the label.
    User {
        user: UserName,
        /// Narrows the delivery.
        label: Option<Label>,
    },
}

impl Target {
    /// Returns the user, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        match self {
            Self::User { user, .. } => Some(user),
            Self::Room(_) => None,
        }
    }
}

impl std::str::FromStr for Target {
    type Err = NameError;

    fn from_str(written: &str) -> Result<Self, NameError> {
        let Some(user) = written.strip_prefix('@').or_else(|| written.strip_prefix("user:")) else {
            return written.parse().map(Self::Room);
        };
        match user.split_once('/') {
            Some((user, label)) => {
                Ok(Self::User { user: UserName::new(user)?, label: Some(label.parse()?) })
            }
            None => Ok(Self::User { user: UserName::new(user)?, label: None }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "{room}"),
            Self::User { user, label } => {
                f.write_str("@")?;
                fmt_handle(f, user, label.as_ref())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    #[test]
    fn spellings_of_one_name_are_one_room() {
        assert_eq!(room("Dev"), room("dEV"));
        assert_eq!(
            room("회의"),
            room("\u{1112}\u{116c}\u{110b}\u{1174}"),
            "composed and decomposed Hangul"
        );
        assert_eq!(room("Straße"), room("STRASSE"), "full case folding");
        assert_eq!(room("café"), room("cafe\u{301}"));
        assert_eq!(room("Dev").as_str(), "Dev", "shown as created");
        assert_ne!(room("dev"), room("dev2"));
    }

    #[test]
    fn letters_marks_and_digits_of_any_script_make_a_name() {
        for good in ["a", "1", "dev-2_x.y", "개발팀", "日本語", "हिन्दी", "٣ب", "é"]
        {
            assert!(RoomName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".a",
            "-a",
            "_a",
            "a b",
            "a/b",
            "a:b",
            "a!",
            "#a",
            "@a",
            "😀",
            "a\u{202e}b",
            "a\u{200d}b",
            "a\n",
            "²",
        ] {
            assert!(RoomName::new(bad).is_err(), "{bad:?}");
        }
        assert!(RoomName::new(&"가".repeat(21)).is_ok(), "63 bytes");
        assert!(RoomName::new(&"가".repeat(22)).is_err(), "66 bytes");
        assert_eq!(RoomName::new("ab c"), Err(NameError::Character { at: 2, found: ' ' }));
    }

    #[test]
    fn invisible_characters_are_those_of_the_property() {
        // Of a crate whose table is not this one.
        let property = regex::Regex::new(r"\A\p{Default_Ignorable_Code_Point}\z").unwrap();
        for c in char::MIN..=char::MAX {
            let of_table = property.is_match(c.encode_utf8(&mut [0; 4])) || BLANK.contains(&c);
            assert_eq!(is_invisible(c), of_table, "{}", c.escape_unicode());
        }
    }

    #[test]
    fn invisible_characters_are_refused_in_new_names_only() {
        for c in char::MIN..=char::MAX {
            let name = format!("board{c}");
            if !is_invisible(c) {
                assert!(!matches!(RoomName::new(&name), Err(NameError::Invisible { .. })));
                continue;
            }
            RoomName::new(&name).unwrap_err();
            Label::new(&name).unwrap_err();
            RoomName::new(&c.to_string()).unwrap_err();
            // What exists is shown in a way that it can be written again.
            let Ok(existing) = RoomName::existing(&name) else { continue };
            assert_eq!(existing.check_new(), Err(NameError::Invisible { at: 5, found: c }));
            let shown = existing.to_string();
            assert_eq!(shown, format!("board{}", c.escape_unicode()));
            assert!(shown.is_ascii());
            assert_eq!(shown.parse::<RoomName>().unwrap().as_str(), name);
            assert_eq!(shown.parse(), Ok(Target::Room(existing)));
        }
        for bad in ["a\\u{41}", "a\\u{fe0f", "a\\u{}", "a\\x", "a\\u{110000}", "\\u{fe0f}"] {
            bad.parse::<RoomName>().unwrap_err();
        }
    }

    #[test]
    fn hangul_makes_names_in_either_form() {
        for name in ["회의", "ㅋㅋ", "각", "한글-방_1"] {
            let decomposed: String = name.nfd().collect();
            assert_eq!(room(name), room(&decomposed));
            assert_eq!(room(&decomposed).to_string(), decomposed, "shown as created");
        }
        // Modern and old jamo, without the two fillers.
        for jamo in ('\u{1100}'..='\u{11ff}').filter(|c| !('\u{115f}'..='\u{1160}').contains(c)) {
            room(&jamo.to_string());
        }
    }

    #[test]
    fn remote_user_has_the_name_of_no_local_one() {
        let remote = UserName::new("ann@db1").unwrap();
        assert_eq!((remote.as_str(), remote.host()), ("ann@db1", Some("db1")));
        assert_eq!(UserName::new("ann").unwrap().host(), None);
        UserName::local("ann@db1").unwrap_err();
        let host = HostName::new("db1").unwrap();
        let of = |user: &str| UserName::remote(&UserName::new(user).unwrap(), &host);
        assert_eq!(of("ann"), Ok(remote.clone()));
        assert!(of("ann@web1").is_err(), "a user of another host does not become one of this");
        let longest = "a".repeat(USER_BYTES_MAX - "@db1".len());
        assert!(of(&longest).is_ok() && of(&format!("{longest}a")).is_err());
        for bad in ["@db1", "ann@", "ann@DB1", "ann@db.1", "ann@db1@web1", "a b@db1", "ann@-x"] {
            UserName::new(bad).unwrap_err();
        }
        let target = Target::User { user: remote, label: Some(Label::new("ci").unwrap()) };
        assert_eq!("@ann@db1/ci".parse(), Ok(target.clone()));
        assert_eq!(target.to_string(), "@ann@db1/ci");
    }

    #[test]
    fn targets_are_written_one_way() {
        assert_eq!("dev".parse(), Ok(Target::Room(room("dev"))));
        let ann = Target::User { user: UserName::new("ann").unwrap(), label: None };
        assert_eq!("@ann".parse(), Ok(ann.clone()));
        assert_eq!("user:ann".parse(), Ok(ann.clone()));
        assert_eq!(ann.to_string(), "@ann");
        let labelled: Target = "@ann/ci".parse().unwrap();
        assert_eq!(labelled.to_string(), "@ann/ci");
        assert_eq!(
            "@#1000".parse(),
            Ok(Target::User { user: UserName::of_uid(1000), label: None })
        );
        for bad in ["@", "@/x", "@ann/", "@ann/b c", "@a\u{1b}b", ""] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }
}
