//! Completion: the word at the cursor, the names that match it, and their order.
//!
//! Names match by the keys that type them, not by code points: a Hangul syllable that is still
//! being composed (`갭`, on the way to `개발`) finds its word, and so do its first consonants (`ㄱㅂ`).

use std::{cmp::Reverse, collections::HashSet, ops::Range};

use caseless::Caseless as _;
use nucleo_matcher::{Config, Matcher, Utf32Str};
use unicode_normalization::UnicodeNormalization as _;

use super::{hangul, slash::ArgKind};

/// Kind of word that is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Chat command `/name`, at the start of the line.
    Command,
    /// Name of a command, as an argument.
    CommandName,
    /// Mention `@name` in running text.
    Mention,
    /// Word of running text: a member to mention, or a room.
    Word,
    /// Member as an argument; the `@` is optional.
    Member,
    /// User as an argument, without a label.
    User,
    /// Name of a room, as an argument.
    Room,
    /// Announcement that asks to be acknowledged.
    Notice,
    /// One of some fixed words.
    Choice(&'static [&'static str]),
    Nothing,
}

impl Kind {
    /// Returns true if the typed word can only be a name: Hangul that matches none was then typed
    /// with the Korean layout on. In running text it may be a part of the message.
    fn is_name(self, typed: &str) -> bool {
        match self {
            Self::Word | Self::Nothing => false,
            Self::Mention => typed.starts_with('@'),
            Self::Command
            | Self::CommandName
            | Self::Member
            | Self::User
            | Self::Room
            | Self::Notice
            | Self::Choice(_) => true,
        }
    }
}

/// Known names; each kind in the order in which it is offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// Commands without their slash.
    pub(super) commands: &'a [(&'a str, ArgKind)],
    /// Members with their labels; recent speakers come first.
    pub(super) members: &'a [String],
    pub(super) rooms: &'a [String],
    /// Announcements that ask to be acknowledged: `!3`.
    pub(super) notices: &'a [String],
}

/// The word at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes to replace, up to the cursor.
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

/// Returns the word that can be completed at the cursor. `commands` have no slash.
pub(super) fn word_at(text: &str, cursor: usize, commands: &[(&str, ArgKind)]) -> Place {
    let before = &text[..cursor];
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + width_at(before, at));
    if before.starts_with('/') && !text.starts_with("//") {
        if start == 0 {
            return Place { range: 0..cursor, kind: Kind::Command };
        }
        let (name, rest) = before.split_once(char::is_whitespace).unwrap_or((before, ""));
        let known = commands.iter().find(|(known, _)| hangul::types(&name[1..], known));
        let is_first = rest.trim_start().len() == cursor - start;
        let word = &text[start..cursor];
        let kind = match known.map_or(ArgKind::Nothing, |(_, kind)| *kind) {
            ArgKind::Nothing if mention_sign(word).is_none() => Kind::Nothing,
            ArgKind::Room if is_first => Kind::Room,
            ArgKind::Member if is_first => Kind::Member,
            ArgKind::User if is_first => Kind::User,
            ArgKind::Notice if is_first => Kind::Notice,
            ArgKind::Number if is_first => Kind::Nothing,
            ArgKind::Command if is_first => Kind::CommandName,
            ArgKind::Choice(of) if is_first && !word.starts_with('@') => Kind::Choice(of),
            ArgKind::Flags { with_word, words, .. }
                if text[..start].split_whitespace().next_back() == Some(with_word) =>
            {
                Kind::Choice(words)
            }
            ArgKind::Flags { all, .. }
                if word.starts_with('-') || (is_first && !word.starts_with('@')) =>
            {
                Kind::Choice(all)
            }
            _ => return running(text, start, cursor),
        };
        return Place { range: start..cursor, kind };
    }
    running(text, start, cursor)
}

/// Returns the kind of a word of running text that begins at `start`.
fn running(text: &str, start: usize, cursor: usize) -> Place {
    let word = &text[start..cursor];
    if let Some(at) = mention_sign(word) {
        return Place { range: start + at..cursor, kind: Kind::Mention };
    }
    // Names begin with a letter or a digit: `(dev` can become `(development`.
    let letters = word.find(char::is_alphanumeric).unwrap_or(word.len());
    let kind = match (letters == word.len(), word.is_empty()) {
        (true, false) => Kind::Nothing,
        // A message often begins with the name of its addressee.
        _ if starts_line(text, start) => Kind::Mention,
        _ => Kind::Word,
    };
    Place { range: start + letters..cursor, kind }
}

/// Returns the start of the mention at the end of a word; none in `mail@ann`.
fn mention_sign(word: &str) -> Option<usize> {
    let at = word.rfind('@')?;
    (!word[..at].ends_with(char::is_alphanumeric)).then_some(at)
}

fn starts_line(text: &str, start: usize) -> bool {
    text[..start].trim_end_matches([' ', '\t']).chars().next_back().is_none_or(|c| c == '\n')
}

fn width_at(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

/// Completion in progress: one of several names is in the text, and the next one may replace it.
/// Any other key ends it.
#[derive(Debug, Clone)]
pub(super) struct Completion {
    /// Bytes of the current name in the text; at first of the typed word.
    range: Range<usize>,
    /// Names as they are listed.
    names: Vec<String>,
    /// Names as they are inserted.
    texts: Vec<String>,
    /// Index of the name in the text.
    now: Option<usize>,
}

/// Name, and its text to insert.
type CompletionOffer<'a> = (&'a str, String);

impl Completion {
    /// Returns the completion at the cursor; none without a match. Equally good names keep their
    /// order.
    pub(super) fn begin(text: &str, cursor: usize, names: &Names<'_>) -> Option<Self> {
        let place = word_at(text, cursor, names.commands);
        let typed = &text[place.range.clone()];
        let (kind, behind) = (place.kind, &text[cursor..]);
        let members = || names.members.iter().map(String::as_str);
        let rooms = || names.rooms.iter().map(String::as_str);
        let commands = || names.commands.iter().map(|(name, _)| *name);
        let mention = |name| (name, format!("@{name} "));
        let argument = |name| (name, format!("{name} "));
        let named = if typed.starts_with('@') { mention } else { argument };
        let offers: Vec<CompletionOffer<'_>> = match kind {
            Kind::Command => commands().map(|name| (name, format!("/{name} "))).collect(),
            Kind::CommandName => commands().map(argument).collect(),
            Kind::Mention => members().map(mention).collect(),
            Kind::Member => members().map(named).collect(),
            Kind::User => users(names.members).into_iter().map(named).collect(),
            Kind::Room => rooms().map(argument).collect(),
            Kind::Notice => names.notices.iter().map(|id| argument(id)).collect(),
            Kind::Choice(of) => of.iter().copied().map(argument).collect(),
            Kind::Word => {
                let rooms = rooms().map(|name| (name, name.to_owned()));
                members().map(mention).chain(rooms).collect()
            }
            Kind::Nothing => return None,
        };
        let query = match kind {
            Kind::Command | Kind::CommandName => typed.trim_start_matches('/'),
            Kind::Mention | Kind::Member | Kind::User => typed.trim_start_matches('@'),
            Kind::Word | Kind::Room | Kind::Notice | Kind::Choice(_) | Kind::Nothing => typed,
        };
        let latin = if kind.is_name(typed) { hangul::latin_keys(query) } else { None };
        let of = |query: &str| Self::of(query, &offers, place.range.clone(), behind);
        of(query).or_else(|| of(&latin?))
    }

    /// Returns the completion with the matches of `offers` in the place of `range`; `behind` is the
    /// text after the cursor.
    fn of(
        query: &str,
        offers: &[CompletionOffer<'_>],
        range: Range<usize>,
        behind: &str,
    ) -> Option<Self> {
        let order = ranked(query, offers.iter().map(|(name, _)| *name));
        if order.is_empty() {
            return None;
        }
        // An existing space is used, so that the cursor is behind it.
        let spaced = offers.iter().all(|(_, text)| text.ends_with(' '));
        let takes_space = spaced && behind.starts_with(' ');
        let ends = behind.is_empty() || takes_space;
        let text = |nth: usize| {
            let text = offers[nth].1.as_str();
            if ends { text } else { text.trim_end() }.to_owned()
        };
        Some(Self {
            range: range.start..range.end + usize::from(takes_space),
            names: order.iter().map(|nth| offers[*nth].0.to_owned()).collect(),
            texts: order.iter().map(|nth| text(*nth)).collect(),
            now: None,
        })
    }

    /// Returns the next name, at first the best: the range to replace, and its text.
    pub(super) fn next(&mut self) -> (Range<usize>, String) {
        self.turn(self.now.map_or(0, |now| (now + 1) % self.texts.len()))
    }

    /// Returns the previous name, at first the last.
    pub(super) fn back(&mut self) -> (Range<usize>, String) {
        let last = self.texts.len() - 1;
        self.turn(self.now.map_or(last, |now| now.checked_sub(1).unwrap_or(last)))
    }

    /// Returns all matches in their order, and the index of the one in the text.
    pub(super) fn shown(&self) -> (&[String], usize) {
        (&self.names, self.now.unwrap_or(0))
    }

    fn turn(&mut self, to: usize) -> (Range<usize>, String) {
        self.now = Some(to);
        let text = self.texts[to].clone();
        let start = self.range.start;
        let replaced = std::mem::replace(&mut self.range, start..start + text.len());
        (replaced, text)
    }
}

/// Returns the users of the names, each once.
fn users(members: &[String]) -> Vec<&str> {
    let mut seen = HashSet::new();
    let users =
        members.iter().map(|name| name.split_once('/').map_or(name.as_str(), |(user, _)| user));
    users.filter(|user| seen.insert(*user)).collect()
}

/// Returns the indices of the names that match, best first: names with the typed beginning, then
/// names with its letters in that order. Equal matches keep their order; an empty query matches
/// all. Hangul that matches none is read as the Latin letters on its keys.
pub(super) fn fuzzy(query: &str, names: &[String]) -> Vec<usize> {
    let query: String = query.split_whitespace().collect();
    let fit = |query: &str| ranked(query, names.iter().map(String::as_str));
    match fit(&query) {
        none if none.is_empty() => hangul::latin_keys(&query).map_or(none, |latin| fit(&latin)),
        fit => fit,
    }
}

/// Quality of a match; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// The name begins with the typed text.
    Begins,
    /// The name begins with the typed keys.
    BeginsByKeys,
    /// The name has the keys in their order, with a score.
    Has(Reverse<u16>),
}

fn ranked<'a>(query: &str, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut query = CompletionQuery::new(query);
    let fit = names.enumerate().filter_map(|(nth, name)| Some((query.fit(name)?, nth)));
    let mut found: Vec<_> = fit.collect();
    found.sort();
    found.into_iter().map(|(_, nth)| nth).collect()
}

/// Typed text, in the forms that are compared with names.
struct CompletionQuery {
    folded: String,
    keys: Vec<char>,
    matcher: Matcher,
}

impl CompletionQuery {
    fn new(typed: &str) -> Self {
        // Case is folded before, and accents are keys of their own.
        let mut config = Config::DEFAULT;
        config.ignore_case = false;
        config.normalize = false;
        Self { folded: folded(typed), keys: keys(typed), matcher: Matcher::new(config) }
    }

    fn fit(&mut self, name: &str) -> Option<Fit> {
        if folded(name).starts_with(&self.folded) {
            return Some(Fit::Begins);
        }
        let keys = keys(name);
        if keys.starts_with(&self.keys) {
            return Some(Fit::BeginsByKeys);
        }
        if !has_in_order(&keys, &self.keys) {
            return None;
        }
        // Letters are passed one by one: the crate's own conversion keeps only the first of a
        // cluster.
        let (name, typed) = (Utf32Str::Unicode(&keys), Utf32Str::Unicode(&self.keys));
        self.matcher.fuzzy_match(name, typed).map(|score| Fit::Has(Reverse(score)))
    }
}

/// Returns true if `keys` has the typed keys in their order, vowels directly behind their
/// consonant: otherwise one syllable of Hangul would match almost every name.
fn has_in_order(keys: &[char], typed: &[char]) -> bool {
    let mut rest = keys;
    let syllables = typed.chunk_by(|_, next| is_vowel(*next));
    syllables.into_iter().all(|part| {
        let found = rest.windows(part.len()).position(|window| window == part);
        rest = found.map_or(&[], |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

fn is_vowel(key: char) -> bool {
    ('ㅏ'..='ㅣ').contains(&key)
}

/// Returns a text as names are compared: composed, without case.
fn folded(text: &str) -> String {
    text.nfd().default_case_fold().nfc().collect()
}

/// Returns the letters and marks of a text without case; Hangul as the keys that type it.
fn keys(text: &str) -> Vec<char> {
    hangul::letters(text.nfd().default_case_fold().nfd()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLAGS: &[&str] = &["--level", "--ack"];
    const LEVELS: &[&str] = &["info", "warning"];
    const COMMANDS: &[(&str, ArgKind)] = &[
        ("help", ArgKind::Command),
        ("join", ArgKind::Room),
        ("msg", ArgKind::Member),
        ("ban", ArgKind::User),
        ("ack", ArgKind::Notice),
        ("reply", ArgKind::Number),
        ("me", ArgKind::Words),
        ("quit", ArgKind::Nothing),
        ("announce", ArgKind::Flags { all: FLAGS, with_word: "--level", words: LEVELS }),
        ("bell", ArgKind::Choice(&["off", "all"])),
    ];

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Completes at `|`.
    fn begin(text: &str) -> Option<Completion> {
        let cursor = text.find('|').unwrap();
        let names = Names {
            commands: COMMANDS,
            members: &names(&["bob", "Ann", "ann/ci", "강민", "개발자", "Ömer"]),
            rooms: &names(&["dev", "개발팀", "Development", "ops"]),
            notices: &names(&["!12", "!7"]),
        };
        Completion::begin(&text.replace('|', ""), cursor, &names)
    }

    /// Texts that are inserted one after the other.
    fn texts(text: &str) -> Vec<String> {
        begin(text).map_or(Vec::new(), |completion| completion.texts)
    }

    /// The text after some turns, with `|` for the cursor.
    fn after(text: &str, turns: usize) -> String {
        let mut completion = begin(text).unwrap();
        let mut text = text.replace('|', "");
        for turn in 1..=turns {
            let (range, with) = completion.next();
            let end = range.start + with.len();
            text.replace_range(range, &with);
            if turn == turns {
                text.insert(end, '|');
            }
        }
        text
    }

    fn kind(text: &str) -> Kind {
        let cursor = text.find('|').unwrap();
        word_at(&text.replace('|', ""), cursor, COMMANDS).kind
    }

    #[test]
    fn kind_of_completion_depends_on_the_place() {
        for (text, expected) in [
            ("/|", Kind::Command),
            ("/jo|", Kind::Command),
            ("|/jo", Kind::Mention),
            ("/join |", Kind::Room),
            ("/JOIN de|", Kind::Room),
            ("/join dev |", Kind::Word),
            ("/ㅓㅐㅑㅜ de|", Kind::Room),
            ("/msg an|", Kind::Member),
            ("/msg @an|", Kind::Member),
            ("/ban an|", Kind::User),
            ("/ack |", Kind::Notice),
            ("/reply |", Kind::Nothing),
            ("/reply 4|", Kind::Nothing),
            ("/reply 42 an|", Kind::Word),
            ("/reply 42 @an|", Kind::Mention),
            ("/msg ann see @b|", Kind::Mention),
            ("/msg ann see de|", Kind::Word),
            ("/help jo|", Kind::CommandName),
            ("/me an|", Kind::Word),
            ("/quit an|", Kind::Nothing),
            ("/nothing an|", Kind::Nothing),
            ("/announce |", Kind::Choice(FLAGS)),
            ("/announce --ack --l|", Kind::Choice(FLAGS)),
            ("/announce --ack an|", Kind::Word),
            ("/announce --level |", Kind::Choice(LEVELS)),
            ("/announce --ack --level wa|", Kind::Choice(LEVELS)),
            ("/announce --level warning an|", Kind::Word),
            ("/bell |", Kind::Choice(&["off", "all"])),
            ("/bell off |", Kind::Word),
            ("/announce @an|", Kind::Mention),
            ("/nothing @an|", Kind::Mention),
            ("//jo|", Kind::Mention),
            ("|", Kind::Mention),
            ("an|", Kind::Mention),
            ("one\nan|", Kind::Mention),
            ("hi an|", Kind::Word),
            ("hi (an|", Kind::Word),
            ("hi (@an|", Kind::Mention),
            ("mail@an|", Kind::Mention),
            ("hi ...|", Kind::Nothing),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_member_is_mentioned_and_a_room_is_named() {
        assert_eq!(after("an|", 1), "@Ann |");
        assert_eq!(after("hi @BO|", 1), "hi @bob |");
        assert_eq!(after("see de|", 1), "see dev|");
        assert_eq!(after("see (개|", 1), "see (@개발자 |", "members first");
        assert_eq!(after("/join ops|", 1), "/join ops |");
        assert_eq!(after("/msg bo|", 1), "/msg bob |");
        assert_eq!(after("/msg @bo|", 1), "/msg @bob |");
        assert_eq!(after("/j|", 1), "/join |");
        assert_eq!(after("/help q|", 1), "/help quit |");
        assert_eq!(after("/announce --a|", 1), "/announce --ack |");
    }

    #[test]
    fn a_space_is_not_doubled_and_no_word_is_torn_off() {
        assert_eq!(after("@bo| hello", 1), "@bob |hello");
        assert_eq!(after("@bo|님", 1), "@bob|님");
        assert_eq!(after("@bo|\nhello", 1), "@bob|\nhello");
        assert_eq!(after("@a| hello", 2), "@ann/ci |hello");
    }

    #[test]
    fn tab_goes_round_and_shift_tab_goes_back() {
        assert_eq!(after("@an|", 1), "@Ann |");
        assert_eq!(after("@an|", 2), "@ann/ci |");
        assert_eq!(after("@an|", 3), "@Ann |");
        let mut back = begin("@an|").unwrap();
        assert_eq!(back.shown(), (names(&["Ann", "ann/ci"]).as_slice(), 0));
        assert_eq!(back.back(), (0..3, "@ann/ci ".to_owned()));
        assert_eq!(back.shown().1, 1);
        assert_eq!(back.back(), (0..8, "@Ann ".to_owned()));
        assert_eq!(back.back(), (0..5, "@ann/ci ".to_owned()));
        assert_eq!(back.next(), (0..8, "@Ann ".to_owned()));
    }

    #[test]
    fn recent_speakers_and_beginnings_come_first() {
        let all = ["@bob ", "@Ann ", "@ann/ci ", "@강민 ", "@개발자 ", "@Ömer "];
        assert_eq!(texts("@|"), all);
        assert_eq!(texts("/join d|"), ["dev ", "Development "]);
        assert_eq!(texts("@ci|"), ["@ann/ci "], "the label alone");
        assert_eq!(texts("@nn|"), ["@Ann ", "@ann/ci "]);
        assert_eq!(texts("/join dp|"), ["Development "]);
        assert_eq!(texts("/join xyz|"), [""; 0]);
        assert!(begin("@xyz|").is_none());
    }

    #[test]
    fn a_rule_is_for_a_user_and_words_are_for_a_member() {
        assert_eq!(texts("/msg ann|"), ["Ann ", "ann/ci "]);
        assert_eq!(texts("/ban ann|"), ["Ann ", "ann "]);
        assert_eq!(texts("/ban @ann|"), ["@Ann ", "@ann "]);
        assert!(begin("/ban @ann/|").is_none());
        assert_eq!(users(&names(&["bob/ci", "ann", "bob", "ann/db"])), ["bob", "ann"]);
    }

    #[test]
    fn a_number_is_not_a_name() {
        assert_eq!(texts("/ack |"), ["!12 ", "!7 "]);
        assert_eq!(texts("/ack 7|"), ["!7 "]);
        assert!(begin("/reply |").is_none());
        assert!(begin("/reply bo|").is_none());
        assert_eq!(texts("/reply 42 bo|"), ["@bob "]);
    }

    #[test]
    fn korean_layout_still_finds_latin_names() {
        assert_eq!(texts("/ㅓㅐ|"), ["/join "]);
        assert_eq!(texts("/벼|"), ["/quit "]);
        assert_eq!(texts("/help ㅠㄷ|"), ["bell "]);
        assert_eq!(texts("/ㅓㅐㅑㅜ ㅐㅔㄴ|"), ["ops "]);
        assert_eq!(texts("/join 개|"), ["개발팀 "], "what fits as it is comes alone");
        assert_eq!(texts("@ㅠㅐ|"), ["@bob "]);
        assert!(begin("see ㅐㅔㄴ|").is_none(), "what may be said is left as it is");
        assert!(begin("ㅠㅐ|").is_none());
        assert_eq!(fuzzy("ㅐㅔㄴ", &names(&["dev", "ops"])), [1]);
        assert_eq!(fuzzy("@ㅠㅐㅠ", &names(&["dev", "@bob"])), [1]);
    }

    #[test]
    fn half_a_syllable_finds_its_word() {
        for typed in ["ㄱ", "개", "갭", "개바", "개발", "개발ㅌ", "개발티", "ㄱㅂ", "ㄱㅂㅌ"]
        {
            let found = texts(&format!("/join {typed}|"));
            assert_eq!(found, ["개발팀 "], "{typed}");
        }
        assert_eq!(texts("@가|"), ["@강민 "], "and not ㄱ…ㅏ");
        assert_eq!(texts("@발ㅈ|"), ["@개발자 "]);
        assert_eq!(texts("@바|"), ["@개발자 "]);
        assert_eq!(texts("@ㄱ|"), ["@강민 ", "@개발자 "]);
        let pairs = names(&["괜찮아", "읽기", "값"]);
        for (typed, nth) in [("고", 0), ("괜차", 0), ("괜찬", 0), ("일", 1), ("읽", 1), ("갑", 2)]
        {
            assert_eq!(fuzzy(typed, &pairs), [nth], "{typed}");
        }
        let decomposed: String = "개발".nfd().collect();
        assert_eq!(texts(&format!("/join {decomposed}|")), ["개발팀 "]);
        assert_eq!(fuzzy("각", &names(&["가게", "각자"])), [1, 0], "whole syllables first");
    }

    #[test]
    fn case_and_accents_need_not_be_typed() {
        assert_eq!(texts("@ö|"), ["@Ömer "]);
        assert_eq!(texts("@Ö|"), ["@Ömer "]);
        assert_eq!(texts("@om|"), ["@Ömer "]);
        assert_eq!(fuzzy("STRASSE", &names(&["Straße"])), [0]);
    }

    #[test]
    fn switcher_lists_all_and_then_the_best_match_first() {
        let rooms = names(&["ops", "dev-web", "web", "ann/ci", "weather-bot"]);
        assert_eq!(fuzzy("", &rooms), [0, 1, 2, 3, 4]);
        assert_eq!(fuzzy("  ", &rooms), [0, 1, 2, 3, 4]);
        assert_eq!(fuzzy("we", &rooms), [2, 4, 1]);
        assert_eq!(fuzzy("wb", &rooms).len(), 3);
        assert_eq!(fuzzy("a ci", &rooms), [3]);
        assert_eq!(fuzzy("zz", &rooms), [0; 0]);
    }

    proptest! {
        #[test]
        fn any_text_can_be_completed_anywhere(
            text in "[/@(]{0,2}([a-c개갭ㄱ발é\u{301}👩\u{200d} \n]|join |msg ){0,12}",
            at in 0usize..40,
            name in "[a-c개발é\u{301}/]{0,4}",
            turns in proptest::collection::vec(any::<bool>(), 0..6),
        ) {
            let mut text = text;
            let cursor = text.floor_char_boundary(at);
            let all = [name];
            let names = Names { commands: COMMANDS, members: &all, rooms: &all, notices: &all };
            if let Some(mut completion) = Completion::begin(&text, cursor, &names) {
                for back in turns {
                    let (range, with) = if back { completion.back() } else { completion.next() };
                    text.replace_range(range, &with);
                    prop_assert!(completion.shown().1 < completion.shown().0.len());
                }
            }
        }
    }
}
