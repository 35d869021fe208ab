//! Everything that measures text: columns, cutting, wrapping, links. By clusters, which is what a person
//! takes for one character, and in the columns that they get when drawn.

use std::{borrow::Cow, ops::Range, sync::Arc};

use caseless::Caseless;
use linkify::{Link, LinkFinder, LinkKind};
use ratatui::style::Style;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::frame::{Row, Span};
use crate::chat::text::mention_ranges;

/// Columns from one tab stop to the next.
const TAB_COLUMNS: usize = 4;
/// Stands for what was cut off.
pub(super) const CUT: &str = "…";
/// Carries a mark that has no letter to stand on.
const CARRIER: &str = "◌";
/// Schemes of addresses that become links. No others: a click must not start any program there is.
const SCHEMES: [&str; 5] = ["http", "https", "ftp", "file", "mailto"];
/// What Korean puts directly behind a noun. Only those that are seen behind an address.
const PARTICLES: [&str; 34] = [
    "가",
    "과",
    "까지",
    "는",
    "도",
    "라고",
    "랑",
    "로",
    "를",
    "만",
    "보다",
    "부터",
    "에",
    "에게",
    "에는",
    "에도",
    "에서",
    "에서는",
    "예요",
    "와",
    "으로",
    "은",
    "을",
    "의",
    "이",
    "이고",
    "이다",
    "이라고",
    "이랑",
    "이에요",
    "인데",
    "입니다",
    "처럼",
    "한테",
];

/// Columns that a text takes when drawn.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(columns).sum()
}

/// Columns that a cluster takes as it stands; none if nothing of it would be seen. Whatever measures goes by
/// this, and so does what puts clusters into cells: a row is as wide as it was taken for.
pub(super) fn cluster_columns(cluster: &str) -> usize {
    if is_ascii(cluster) { 1 } else { cluster.width() }
}

/// Columns of one cluster as [`drawn`] makes it visible: at least one.
fn columns(cluster: &str) -> usize {
    if cluster.contains(char::is_control) {
        return 1;
    }
    cluster_columns(cluster).max(1)
}

/// Most clusters: there is nothing to find out about them.
fn is_ascii(cluster: &str) -> bool {
    matches!(cluster.as_bytes(), [b' '..=b'~'])
}

/// A cluster as it is drawn. A mark without a letter stands on a dotted circle: what takes no column is left
/// out of the cells, and people should see that something is there.
pub(super) fn drawn(cluster: &str) -> Cow<'_, str> {
    if is_ascii(cluster) {
        return cluster.into();
    }
    if cluster.contains(char::is_control) {
        // Safe texts have none but line ends and tabs, where one line was expected.
        return " ".into();
    }
    if cluster_columns(cluster) > 0 {
        return cluster.into();
    }
    let carried = format!("{CARRIER}{cluster}");
    let one = carried.graphemes(true).nth(1).is_none() && cluster_columns(&carried) == 1;
    // A lone filler or half a syllable does not join it.
    if one { carried.into() } else { CARRIER.into() }
}

/// A text that is never wider than `columns`; `…` at the end if something was cut off.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    let Fit { end, whole, as_is } = fit(text, columns);
    if whole && as_is {
        return text.into();
    }
    let mut out = String::with_capacity(end + CUT.len());
    text[..end].graphemes(true).for_each(|cluster| out.push_str(&drawn(cluster)));
    if !whole && columns > 0 {
        out.push_str(CUT);
    }
    out.into()
}

/// How much of a text goes into some columns.
struct Fit {
    /// Bytes that fit, with `…` behind them if it is not the whole text.
    end: usize,
    whole: bool,
    /// Nothing has to be drawn otherwise than it is written.
    as_is: bool,
}

/// Looks no further than it has to: a text may be long, a row is not.
fn fit(text: &str, limit: usize) -> Fit {
    let (mut column, mut end, mut as_is) = (0, 0, true);
    for (at, cluster) in text.grapheme_indices(true) {
        column += columns(cluster);
        if column > limit {
            return Fit { end, whole: false, as_is };
        }
        as_is &= matches!(drawn(cluster), Cow::Borrowed(same) if same == cluster);
        if column < limit {
            end = at + cluster.len();
        }
    }
    Fit { end: text.len(), whole: true, as_is }
}

/// A text cut or filled up to exactly so many columns.
pub(super) fn filled(text: &str, columns: usize) -> String {
    let mut out = cut(text, columns).into_owned();
    let blank = columns - width(&out);
    out.extend(std::iter::repeat_n(' ', blank));
    out
}

/// A text as rows of at most `first` and then `rest` columns, as byte ranges. It breaks at spaces, which
/// are dropped there, and between ideographs; a word longer than a row breaks between any clusters. Spaces
/// at the start of a line stay. No columns count as one, and there is at least one row.
pub(super) fn wrap(text: &str, first: usize, rest: usize) -> Vec<Range<usize>> {
    let mut wrapper = Wrapper::new(text, first, rest);
    let mut word: Option<Word> = None;
    for (at, cluster) in text.grapheme_indices(true) {
        let end = at + cluster.len();
        let space = is_space(cluster);
        if cluster.ends_with('\n')
            || space
            || word.as_ref().is_some_and(|w| breaks_between(w.last, cluster))
        {
            word.take().into_iter().for_each(|word| wrapper.word(&word));
        }
        if cluster.ends_with('\n') {
            wrapper.end_line(end);
        } else if space {
            wrapper.space(cluster, end);
        } else {
            let word = word.get_or_insert(Word { range: at..at, columns: 0, last: ' ' });
            word.range.end = end;
            word.columns += columns(cluster);
            word.last = cluster.chars().next_back().unwrap_or(word.last);
        }
    }
    word.into_iter().for_each(|word| wrapper.word(&word));
    wrapper.end_line(text.len());
    wrapper.rows
}

/// Columns of what is written or pressed, before what it does.
const LEFT_COLUMNS: usize = 28;

/// What is written or pressed, and what it does, side by side in so many columns. A left side that is too
/// long has rows of its own.
pub(super) fn entry(left: &str, about: &str, columns: usize) -> Vec<String> {
    let whole = wrap(left, columns, columns);
    let mut rows: Vec<String> = whole.into_iter().map(|row| left[row].to_owned()).collect();
    let beside = columns.saturating_sub(LEFT_COLUMNS);
    for (nth, range) in wrap(about, beside, beside).into_iter().enumerate() {
        let left = rows.pop_if(|row| nth == 0 && width(row) < LEFT_COLUMNS).unwrap_or_default();
        rows.push(filled(&left, LEFT_COLUMNS) + &about[range]);
    }
    rows
}

/// Whether a row may end at a cluster; the spaces that forbid it are letters here.
pub(super) fn is_space(cluster: &str) -> bool {
    let blank = |c: char| c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}');
    let mut chars = cluster.chars();
    chars.next().is_some_and(blank) && chars.next().is_none()
}

/// Clusters that stay together if they can.
struct Word {
    range: Range<usize>,
    columns: usize,
    last: char,
}

/// Whether a row may end between a character and the cluster behind it. Chinese and Japanese write without
/// spaces; Korean does not.
pub(super) fn breaks_between(last: char, next: &str) -> bool {
    let before = is_ideograph(last) || matches!(last, '、' | '。' | '，' | '」' | '』');
    before && next.starts_with(is_ideograph)
}

/// The row that is being filled, and those before it.
struct Wrapper<'a> {
    text: &'a str,
    first: usize,
    rest: usize,
    rows: Vec<Range<usize>>,
    /// The row up to its last word.
    row: Range<usize>,
    /// Nothing but spaces so far.
    blank: bool,
    /// Where it ends, and its columns, with the spaces behind the last word that fit.
    end: usize,
    column: usize,
    /// A space did not fit: what follows doesn't either.
    full: bool,
}

impl<'a> Wrapper<'a> {
    fn new(text: &'a str, first: usize, rest: usize) -> Self {
        let (first, rest, rows) = (first.max(1), rest.max(1), Vec::new());
        Self { text, first, rest, rows, row: 0..0, blank: true, end: 0, column: 0, full: false }
    }

    /// Columns of the row that is being filled.
    fn limit(&self) -> usize {
        if self.rows.is_empty() { self.first } else { self.rest }
    }

    /// Ends the row behind its last word.
    fn turn(&mut self, next: usize) {
        self.rows.push(self.row.clone());
        self.row = next..next;
        self.end = next;
        (self.column, self.blank, self.full) = (0, true, false);
    }

    /// Ends it with the spaces that fit.
    fn end_line(&mut self, next: usize) {
        self.row.end = self.end;
        self.turn(next);
    }

    fn space(&mut self, cluster: &str, end: usize) {
        let column = self.column + space_columns(cluster, self.column);
        self.full |= column > self.limit();
        if !self.full {
            (self.column, self.end) = (column, end);
        }
    }

    fn put(&mut self, end: usize, columns: usize) {
        (self.row.end, self.end, self.blank) = (end, end, false);
        self.column += columns;
    }

    fn fits(&self, columns: usize) -> bool {
        !self.full && self.column + columns <= self.limit()
    }

    fn word(&mut self, word: &Word) {
        // A word that is too long for any row is broken where it stands, and so is the first of a line
        // behind its indentation: on a small screen no row should stay empty.
        if !self.fits(word.columns) && !self.blank && word.columns <= self.rest {
            self.turn(word.range.start);
        }
        if self.fits(word.columns) {
            return self.put(word.range.end, word.columns);
        }
        if self.full {
            self.row.end = if self.blank { self.end } else { self.row.end };
            self.turn(word.range.start);
        }
        self.pieces(&word.range);
    }

    fn pieces(&mut self, range: &Range<usize>) {
        let text = self.text;
        for (at, cluster) in text[range.clone()].grapheme_indices(true) {
            let (at, wide) = (range.start + at, columns(cluster));
            // One that is wider than any row gets a row of its own.
            if !self.fits(wide) && (self.column > 0 || (self.rows.is_empty() && wide <= self.rest))
            {
                self.turn(at);
            }
            self.put(at + cluster.len(), wide);
        }
    }
}

/// Columns of a space at a column.
pub(super) fn space_columns(space: &str, column: usize) -> usize {
    if space == "\t" { TAB_COLUMNS - column % TAB_COLUMNS } else { columns(space) }
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{2fd5}' | '々' | '〇' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '\u{3105}'..='\u{312f}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

pub(super) fn is_hangul(c: char) -> bool {
    matches!(c, '가'..='힣' | '\u{1100}'..='\u{11ff}' | '\u{3131}'..='\u{318e}'
        | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}')
}

/// Full stops, commas and brackets of Chinese, Japanese and Korean.
fn is_wide_punctuation(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{3004}' | '\u{3008}'..='\u{301f}' | '！'..='／' | '：'..='＠'
        | '［'..='｀' | '｛'..='･')
}

/// Where a text has addresses that a click may open, in order.
pub(super) fn links(text: &str) -> Vec<Range<usize>> {
    if !text.contains(':') {
        return Vec::new();
    }
    // Behind a port or a numeric host a particle hides the whole address from the finder that knows hosts
    // in other scripts (`http://127.0.0.1:80에서`); the other one sees it.
    let mut found = links_of(text, true);
    let known = found.clone();
    let is_known = |link: &Range<usize>| {
        let next = known.partition_point(|other| other.end <= link.start);
        known.get(next).is_some_and(|other| other.start < link.end)
    };
    found.extend(links_of(text, false).into_iter().filter(|link| !is_known(link)));
    found.sort_by_key(|link| link.start);
    // An address of mail may be found within another one, and begin where that ends.
    let mut end = 0;
    found.retain(|link| {
        let is_behind = link.start >= end;
        if is_behind {
            end = link.end;
        }
        is_behind
    });
    found
}

fn links_of(text: &str, other_scripts: bool) -> Vec<Range<usize>> {
    let mut finder = LinkFinder::new();
    finder.url_can_be_iri(other_scripts);
    let links = finder.links(text).filter_map(|link| address(text, &link));
    links.map(|link| link.start..link.start + address_bytes(&text[link])).collect()
}

/// The range of a link if it has one of our schemes.
fn address(text: &str, link: &Link<'_>) -> Option<Range<usize>> {
    let lead = match link.kind() {
        LinkKind::Email => "mailto:".len(),
        _ => 0,
    };
    let start = link.start().checked_sub(lead)?;
    let scheme = text.get(start..link.end())?.split(':').next()?;
    let ours = SCHEMES.iter().any(|ours| scheme.eq_ignore_ascii_case(ours));
    let begins = !text[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
    (ours && begins).then_some(start..link.end())
}

/// Bytes of an address without the words that follow it directly: Korean particles, Chinese and Japanese
/// sentences. They are told apart by what stands before them: a path may well be spelled in Hangul, but a
/// part of it begins so.
fn address_bytes(address: &str) -> usize {
    let host = address.find(':').map_or(0, |at| at + 1);
    let host = host + (address.len() - host - address[host..].trim_start_matches('/').len());
    let path = address[host..].find(['/', '?', '#']).map_or(address.len(), |at| host + at);
    let end = host_end(&address[..path], host).or_else(|| path_end(address, path));
    let address = &address[..end.unwrap_or(address.len())];
    address.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '\'', '(', '[', '{']).len()
}

fn is_east_asian(c: char) -> bool {
    is_hangul(c) || is_ideograph(c) || is_wide_punctuation(c)
}

/// Where a host has ended before the address does: behind a top level or a port in ASCII.
fn host_end(address: &str, host: usize) -> Option<usize> {
    let label = host + address[host..].rfind(['.', ':', '@']).map_or(0, |at| at + 1);
    let end = label + address[label..].find(is_east_asian)?;
    (end > label).then_some(end)
}

fn path_end(address: &str, path: usize) -> Option<usize> {
    let mut before = None;
    for (at, c) in address[path..].char_indices() {
        if is_wide_punctuation(c) {
            return Some(path + at);
        }
        if is_east_asian(c) {
            let rest = &address[path + at..];
            let part = matches!(before, Some('/' | '=' | '-' | '_' | '&' | '?' | '#' | '+' | '~'));
            if !part || PARTICLES.contains(&rest) {
                return Some(path + at);
            }
            // Spelled in that script: where it ends can't be told any more, but for punctuation.
            return rest.find(is_wide_punctuation).map(|end| path + at + end);
        }
        before = Some(c);
    }
    None
}

/// An address as terminals take it: ASCII.
fn target(address: &str) -> Arc<str> {
    if address.is_ascii() {
        return address.into();
    }
    let mut out = String::with_capacity(address.len() * 2);
    for byte in address.bytes() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

/// How the parts of a message look, and which they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) base: Style,
    /// Patches the base, and so do those below, in this order.
    pub(super) link: Style,
    pub(super) mention: Style,
    pub(super) found: Style,
    /// Whose mentions; nobody's if empty.
    pub(super) user: &'a str,
    /// What was searched for.
    pub(super) words: &'a [String],
}

const LINK: u8 = 1;
const MENTION: u8 = 2;
const FOUND: u8 = 4;

impl Look<'_> {
    fn style(&self, marks: u8) -> Style {
        let parts = [(LINK, self.link), (MENTION, self.mention), (FOUND, self.found)];
        let here = parts.iter().filter(|(mark, _)| marks & mark != 0);
        here.fold(self.base, |style, (_, patch)| style.patch(*patch))
    }
}

/// A message's text as rows of styled pieces; `first` and `rest` as for [`wrap`].
pub(super) fn rows(text: &str, first: usize, rest: usize, look: &Look<'_>) -> Vec<Row> {
    let marked = Marked::new(text, look);
    let row = |(index, range): (usize, Range<usize>)| {
        let limit = if index == 0 { first } else { rest };
        row(&marked, range, limit.max(1), look)
    };
    wrap(text, first, rest).into_iter().enumerate().map(row).collect()
}

/// A text and what is special in it.
struct Marked<'a> {
    text: &'a str,
    /// A set of marks for each byte; empty if nothing is special.
    marks: Vec<u8>,
    links: Vec<(Range<usize>, Arc<str>)>,
}

impl<'a> Marked<'a> {
    fn new(text: &'a str, look: &Look<'_>) -> Self {
        let links = links(text);
        let mentions =
            if look.user.is_empty() { Vec::new() } else { mention_ranges(text, look.user) };
        let found = found(text, look.words);
        let mut marks = Vec::new();
        for (mark, ranges) in [(LINK, &links), (MENTION, &mentions), (FOUND, &found)] {
            if !ranges.is_empty() {
                marks.resize(text.len(), 0);
            }
            ranges.iter().flat_map(|range| range.clone()).for_each(|at| marks[at] |= mark);
        }
        let links = links.into_iter().map(|range| (range.clone(), target(&text[range]))).collect();
        Self { text, marks, links }
    }

    /// The marks of a cluster: all that any part of it has, since it can't be drawn in two styles.
    fn marks(&self, cluster: Range<usize>) -> u8 {
        let marks = self.marks.get(cluster).unwrap_or(&[]);
        marks.iter().fold(0, |all, marks| all | marks)
    }

    fn link(&self, cluster: &Range<usize>) -> Option<&Arc<str>> {
        let next = self.links.partition_point(|(range, _)| range.end <= cluster.start);
        let (range, target) = self.links.get(next)?;
        (range.start < cluster.end).then_some(target)
    }
}

fn row(marked: &Marked<'_>, range: Range<usize>, limit: usize, look: &Look<'_>) -> Row {
    let mut row = Row::default();
    let (mut column, mut last) = (0, None);
    for (at, cluster) in marked.text[range.clone()].grapheme_indices(true) {
        let here = range.start + at..range.start + at + cluster.len();
        let marks = marked.marks(here.clone());
        let link = if marks & LINK == 0 { None } else { marked.link(&here) };
        let look_here = (marks, link.map(Arc::as_ptr));
        if last != Some(look_here) {
            let (style, link) = (look.style(marks), link.map(Arc::clone));
            row.spans.push(Span { text: String::new(), style, link });
            last = Some(look_here);
        }
        if let Some(span) = row.spans.last_mut() {
            column += draw(&mut span.text, cluster, column, limit);
        }
    }
    row
}

/// Adds a cluster to a piece of a row; its columns.
fn draw(out: &mut String, cluster: &str, column: usize, limit: usize) -> usize {
    if cluster == "\t" {
        let blank = space_columns(cluster, column);
        out.extend(std::iter::repeat_n(' ', blank));
        return blank;
    }
    let wide = columns(cluster);
    if wide > limit {
        out.push_str(CUT);
        return 1;
    }
    out.push_str(&drawn(cluster));
    wide
}

/// Where words stand in a text, however they are cased or composed; in whole clusters.
fn found(text: &str, words: &[String]) -> Vec<Range<usize>> {
    if words.is_empty() {
        return Vec::new();
    }
    let folded = Folded::new(text);
    words.iter().flat_map(|word| folded.find(word)).collect()
}

/// A text in the form in which texts are compared, as the search of the history does.
struct Folded {
    text: String,
    /// For each cluster where it begins in that form, and in the text; and where both end.
    clusters: Vec<(usize, usize)>,
}

impl Folded {
    fn new(text: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(text.len()), clusters: Vec::new() };
        for (at, cluster) in text.grapheme_indices(true) {
            folded.clusters.push((folded.text.len(), at));
            fold_onto(&mut folded.text, cluster);
        }
        folded.clusters.push((folded.text.len(), text.len()));
        folded
    }

    fn find(&self, word: &str) -> Vec<Range<usize>> {
        let mut folded = String::with_capacity(word.len());
        fold_onto(&mut folded, word);
        if folded.is_empty() {
            return Vec::new();
        }
        let hits = self.text.match_indices(&folded);
        hits.map(|(at, hit)| self.start(at)..self.end(at + hit.len())).collect()
    }

    /// Where the cluster begins that has the byte `at` of the folded text.
    fn start(&self, at: usize) -> usize {
        let next = self.clusters.partition_point(|(folded, _)| *folded <= at);
        self.clusters[next.saturating_sub(1)].1
    }

    /// Where the cluster ends that has the byte before `at`.
    fn end(&self, at: usize) -> usize {
        let next = self.clusters.partition_point(|(folded, _)| *folded < at);
        self.clusters[next].1
    }
}

fn fold_onto(out: &mut String, text: &str) {
    if text.is_ascii() {
        out.extend(text.chars().map(|c| c.to_ascii_lowercase()));
    } else {
        out.extend(text.nfd().default_case_fold().nfc());
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, iter::repeat_n};

    use proptest::prelude::*;

    use super::*;
    use crate::tui::cells::tests::ends;

    const FAMILY: &str = "👩‍👩‍👧";

    fn wrapped(text: &str, first: usize, rest: usize) -> Vec<&str> {
        wrap(text, first, rest).into_iter().map(|range| &text[range]).collect()
    }

    fn look<'a>(user: &'a str, words: &'a [String]) -> Look<'a> {
        Look {
            base: Style::new(),
            link: Style::new().underlined(),
            mention: Style::new().bold(),
            found: Style::new().reversed(),
            user,
            words,
        }
    }

    fn texts(text: &str, first: usize, rest: usize) -> Vec<String> {
        rows(text, first, rest, &look("", &[])).iter().map(Row::text).collect()
    }

    /// The pieces of all rows that have a style of their own.
    fn special(rows: &[Row], style: Style) -> Vec<&str> {
        let spans = rows.iter().flat_map(|row| &row.spans);
        spans.filter(|span| span.style == style).map(|span| span.text.as_str()).collect()
    }

    fn linked(text: &str) -> Vec<&str> {
        links(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn columns_are_those_of_the_screen() {
        for (text, columns) in [
            ("", 0),
            ("abc", 3),
            ("한글", 4),
            ("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}", 4), // 한글, decomposed
            ("cafe\u{301}", 4),
            (FAMILY, 2),
            ("🇰🇷🇰🇷", 4),
            ("👍🏽", 2),
            ("❤️", 2),
            ("नमस्ते", 4),
            ("ｱｲｳ", 3),
            ("ｶﾞｷﾞｸﾞ ﾊﾟ", 9),
            ("か\u{3099}", 2),
            ("…", 1),
            ("Ａ", 2),
        ] {
            assert_eq!(width(text), columns, "{text}");
            assert_eq!(ends(&[Row::of(text, Style::new())], 20), [Some(columns)], "{text}");
        }
    }

    #[test]
    fn what_is_cut_is_never_wider_and_never_half_a_letter() {
        assert_eq!(cut("회의실", 6), "회의실");
        assert!(matches!(cut("회의실", 6), Cow::Borrowed(_)));
        assert_eq!(cut("회의실", 5), "회의…");
        assert_eq!(cut("회의실", 4), "회…", "no half letter before the sign");
        assert_eq!(cut("회의실", 1), "…");
        assert_eq!(cut("회의실", 0), "");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("cafe\u{301}s", 5), "cafe\u{301}s");
        assert_eq!(cut("cafe\u{301}s!", 5), "cafe\u{301}…");
        assert_eq!(cut(&FAMILY.repeat(3), 5), format!("{FAMILY}{FAMILY}…"));
        assert_eq!(cut("a\tb\nc", 9), "a b c", "one line");
    }

    #[test]
    fn columns_of_a_table_stand_below_each_other() {
        assert_eq!(filled("철수", 6), "철수  ");
        assert_eq!(filled("철수와 영희", 6), "철수… ");
        assert_eq!(filled("한", 1), "…");
        assert_eq!(filled("한", 0), "");
    }

    #[test]
    fn what_is_too_long_for_its_column_stands_above_the_other() {
        let blank = " ".repeat(LEFT_COLUMNS);
        assert_eq!(entry("Alt-Y", "copy its text", 60), [format!("{:28}copy its text", "Alt-Y")]);
        for left in ["/announce [--level L] TEXT ..", "Alt-Enter, Ctrl-J, Shift-Enter"] {
            assert_eq!(entry(left, "a new line", 60), [left, &format!("{blank}a new line")]);
        }
        assert_eq!(
            entry("Tab", "complete a name, a room", 40),
            [format!("{:28}complete a", "Tab"), format!("{blank}name, a room")]
        );
        assert_eq!(entry("", "", 40), [blank]);
    }

    #[test]
    fn a_mark_without_a_letter_is_seen() {
        assert_eq!(texts("\u{301}a", 9, 9), ["◌\u{301}a"]);
        assert_eq!(texts("a\n\u{301}", 9, 9), ["a", "◌\u{301}"]);
        assert_eq!(cut("\u{200d}", 9), "◌\u{200d}");
        // A filler and half a syllable would be drawn as nothing at all.
        assert_eq!(texts("a\u{3164}b", 9, 9), ["a◌b"]);
        assert_eq!(texts("\u{1161}", 9, 9), ["◌"]);
        assert_eq!(filled("\u{3164}\u{3164}", 4), "◌◌  ");
        assert_eq!(width("\u{3164}"), 1);
    }

    #[test]
    fn korean_breaks_at_spaces() {
        let text = "오늘 회의는 세 시에 시작합니다";
        assert_eq!(wrapped(text, 12, 12), ["오늘 회의는", "세 시에", "시작합니다"]);
        assert_eq!(wrapped(text, 4, 16), ["오늘", "회의는 세 시에", "시작합니다"]);
        let decomposed: String = text.nfd().collect();
        let rows: Vec<String> =
            wrapped(&decomposed, 12, 12).into_iter().map(|row| row.nfc().collect()).collect();
        assert_eq!(rows, ["오늘 회의는", "세 시에", "시작합니다"]);
    }

    #[test]
    fn a_word_longer_than_a_row_breaks_where_the_row_ends() {
        assert_eq!(wrapped("가나다라마바사", 6, 6), ["가나다", "라마바", "사"]);
        assert_eq!(wrapped("가나다라마바사", 7, 5), ["가나다", "라마", "바사"]);
        assert_eq!(wrapped("ab abcdefghij kl", 6, 6), ["ab abc", "defghi", "j kl"]);
        assert_eq!(wrapped("abcdef ghi", 6, 6), ["abcdef", "ghi"]);
        assert_eq!(wrapped("abcdef   ghijklmnop", 6, 6), ["abcdef", "ghijkl", "mnop"]);
        assert_eq!(wrapped(&FAMILY.repeat(3), 5, 5), [&FAMILY.repeat(2), FAMILY]);
        assert_eq!(wrapped("🇰🇷🇯🇵🇩🇪", 3, 3), ["🇰🇷", "🇯🇵", "🇩🇪"]);
    }

    #[test]
    fn chinese_and_japanese_break_between_letters() {
        assert_eq!(wrapped("see 日本語の文", 10, 10), ["see 日本語", "の文"]);
        assert_eq!(wrapped("日本語。文", 6, 6), ["日本", "語。文"], "no full stop begins a row");
    }

    #[test]
    fn lines_and_spaces_stay_but_where_a_row_breaks() {
        assert_eq!(wrapped("", 9, 9), [""]);
        assert_eq!(wrapped("a\n\nb\n", 9, 9), ["a", "", "b", ""]);
        assert_eq!(wrapped("a\r\nb", 9, 9), ["a", "b"]);
        assert_eq!(wrapped("  if x {\n    y", 9, 9), ["  if x {", "    y"]);
        assert_eq!(wrapped("one  two", 4, 4), ["one", "two"]);
        assert_eq!(wrapped("one ", 4, 4), ["one "]);
        assert_eq!(wrapped("one  ", 4, 4), ["one "]);
        assert_eq!(wrapped("      x", 4, 4), ["    ", "x"]);
        assert_eq!(wrapped("   abcdef", 4, 4), ["   a", "bcde", "f"]);
        assert_eq!(wrapped("10\u{a0}km away", 8, 8), ["10\u{a0}km", "away"]);
        assert_eq!(wrapped("3\u{a0}km far", 4, 9), ["3\u{a0}km", "far"]);
    }

    #[test]
    fn tabs_go_to_the_next_stop() {
        assert_eq!(texts("a\tb\t\tc", 20, 20), ["a   b       c"]);
        assert_eq!(texts("한\tb", 20, 20), ["한  b"]);
        assert_eq!(texts("\tx", 20, 20), ["    x"]);
        assert_eq!(texts("abc\tdef", 5, 5), ["abc", "def"]);
    }

    #[test]
    fn what_is_wider_than_a_row_is_told() {
        assert_eq!(texts("한a글", 1, 1), ["…", "a", "…"]);
        assert_eq!(texts("한a", 0, 0), ["…", "a"]);
        assert_eq!(texts("한", 1, 4), ["", "한"], "there is room on the next row");
        let wide = format!("a{}b", ["👩"; 9].join("\u{200d}"));
        assert!(texts(&wide, 4, 4).iter().all(|row| width(row) <= 4));
    }

    #[test]
    fn addresses_are_found() {
        assert_eq!(
            linked("see https://a.kr/x?y=1#z, (http://b.org/c_(d)) or <ftp://c.org>."),
            ["https://a.kr/x?y=1#z", "http://b.org/c_(d)", "ftp://c.org"]
        );
        assert_eq!(linked("mailto:ann@a.kr and ann@a.kr"), ["mailto:ann@a.kr"]);
        let nested = links("http://mailto:/@한.http://");
        assert!(nested.is_sorted_by(|one, next| one.end <= next.start), "{nested:?}");
        assert_eq!(linked("file:///tmp/x.log!"), ["file:///tmp/x.log"]);
        assert_eq!(linked("HTTPS://A.KR/X"), ["HTTPS://A.KR/X"]);
        assert_eq!(linked("http://localhost:8080/a"), ["http://localhost:8080/a"]);
        for none in ["javascript://a%0aalert(1)", "ssh://a.kr", "vscode://open", "a: b", "http://"]
        {
            assert!(linked(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn korean_behind_an_address_is_not_part_of_it() {
        for (text, address) in [
            ("https://a.kr을 보세요", "https://a.kr"),
            ("https://a.kr/b를 보세요", "https://a.kr/b"),
            ("https://a.kr/b/를", "https://a.kr/b/"),
            ("https://a.kr/b?c=1로 갑시다", "https://a.kr/b?c=1"),
            ("(https://a.kr/b)입니다", "https://a.kr/b"),
            ("https://a.kr/b.그리고", "https://a.kr/b"),
            ("http://127.0.0.1:3000에서", "http://127.0.0.1:3000"),
            ("http://localhost:3000에서", "http://localhost:3000"),
            ("http://localhost에서", "http://localhost"),
            ("링크:https://a.kr/b입니다", "https://a.kr/b"),
            ("mailto:ann@a.kr로", "mailto:ann@a.kr"),
            ("https://a.cn/b，然后", "https://a.cn/b"),
            ("https://a.jp/bを見て", "https://a.jp/b"),
        ] {
            assert_eq!(linked(text), [address], "{text}");
        }
        // Spelled in Hangul, as people copy it.
        let spelled = ["https://ko.wikipedia.org/wiki/한국어", "https://a.kr/?q=회의록&n=1"];
        for address in
            spelled.into_iter().chain(["http://한글.kr/", "https://a.kr/ab-가나/c_다.png"])
        {
            assert_eq!(linked(address), [address]);
        }
    }

    #[test]
    fn a_link_leads_to_the_whole_address_from_every_row() {
        let rows = rows("see https://a.kr/wiki/한국", 12, 12, &look("", &[]));
        assert_eq!(
            rows.iter().map(Row::text).collect::<Vec<_>>(),
            ["see https://", "a.kr/wiki/한", "국"]
        );
        let targets: Vec<_> = rows
            .iter()
            .flat_map(|row| &row.spans)
            .filter_map(|span| span.link.as_deref())
            .collect();
        assert_eq!(targets, ["https://a.kr/wiki/%ED%95%9C%EA%B5%AD"; 3]);
        assert_eq!(special(&rows, Style::new()), ["see "]);
        assert_eq!(special(&rows, Style::new().underlined()).concat(), "https://a.kr/wiki/한국");
    }

    #[test]
    fn links_side_by_side_lead_to_their_own_addresses() {
        let rows = rows("<http://a.kr><http://b.kr>", 40, 40, &look("", &[]));
        let targets: Vec<_> =
            rows[0].spans.iter().filter_map(|span| span.link.as_deref()).collect();
        assert_eq!(targets, ["http://a.kr", "http://b.kr"]);
    }

    #[test]
    fn mentions_and_what_was_searched_stand_out() {
        let words = ["회의".to_owned(), "CAFÉ".to_owned(), String::new()];
        let text = "@ann님 회의 in the cafe\u{301}, 정기\u{1112}\u{116c}\u{110b}\u{1174}, @anna";
        let rows = rows(text, 80, 80, &look("ann", &words));
        assert_eq!(special(&rows, Style::new().bold()), ["@ann"]);
        assert_eq!(
            special(&rows, Style::new().reversed()),
            ["회의", "cafe\u{301}", "\u{1112}\u{116c}\u{110b}\u{1174}"]
        );
        assert_eq!(rows[0].text(), text);
    }

    #[test]
    fn found_words_are_compared_as_the_history_compares_them() {
        let found = |text: &str, word: &str| {
            let ranges = found(text, &[word.to_owned()]);
            ranges.into_iter().map(|range| text[range].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("Straße STRASSE", "strasse"), ["Straße", "STRASSE"]);
        assert_eq!(found("Straße", "AS"), ["aß"], "whole letters only");
        assert_eq!(found("ΣΊΣΥΦΟΣ", "σίσυφος"), ["ΣΊΣΥΦΟΣ"]);
        assert_eq!(found("aaa", "AA"), ["aa"]);
        assert!(found("abc", "").is_empty());
    }

    #[test]
    fn styles_lie_over_each_other() {
        let words = ["kr".to_owned()];
        let rows = rows("http://a.kr", 80, 80, &look("", &words));
        assert_eq!(special(&rows, Style::new().underlined().reversed()), ["kr"]);
        assert!(rows[0].spans.iter().all(|span| span.link.is_some()));
    }

    #[test]
    fn the_longest_texts_are_laid_out_whatever_they_are_made_of() {
        let words = ["a".to_owned()];
        for part in [
            "a",
            "한",
            FAMILY,
            "\u{301}",
            "🇰🇷",
            "a ",
            "\t",
            "\n",
            "http://a",
            "@ann ",
            "a@a.",
            "http://a.kr/한",
            "://",
            "👩\u{200d}",
            "(",
            "mailto:",
            "क्\u{200d}",
            "http://-_.",
        ] {
            let text: String = repeat_n(part, 32 * 1024 / part.len()).collect();
            let rows = black_box(rows(&text, 20, 37, &look("ann", &words)));
            assert!(rows.iter().all(|row| width(&row.text()) <= 37), "{part}");
        }
    }

    /// What people and programs send, and what breaks things.
    fn any_text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[a-z가-힣]{1,12}",
            "[ \t\n]{1,3}",
            "[ㄱ-ㆎᄀ-ᇿ\u{300}-\u{310}]{1,4}",
            "[日本語の文。、]{1,6}",
            Just(FAMILY.to_owned()),
            Just("🇰🇷".to_owned()),
            Just("👩\u{200d}👩\u{200d}👩\u{200d}👩".to_owned()),
            Just("क्ष्ष्ष".to_owned()),
            "[ｶﾊﾞﾟ]{1,4}",
            Just("https://a.kr/한글/b".to_owned()),
            Just("@ann".to_owned()),
            any::<char>().prop_map(String::from),
        ];
        let parts = proptest::collection::vec(part, 0..30);
        parts.prop_map(|parts| crate::chat::text::shown(&parts.concat(), true).into_owned())
    }

    fn without_spaces(text: &str) -> String {
        text.graphemes(true).filter(|c| !is_space(c) && !c.ends_with('\n')).collect()
    }

    proptest! {
        #[test]
        fn rows_are_never_wider_than_asked(
            text in any_text(), first in 0..30usize, rest in 0..30usize
        ) {
            let words = ["a".to_owned()];
            let rows = rows(&text, first, rest, &look("ann", &words));
            prop_assert!(!rows.is_empty());
            for (index, row) in rows.iter().enumerate() {
                let limit = if index == 0 { first } else { rest };
                let text = row.text();
                prop_assert!(width(&text) <= limit.max(1), "{text:?}");
            }
            let widths: Vec<_> = rows.iter().map(|row| Some(row.width())).collect();
            prop_assert_eq!(ends(&rows, 99), widths, "{:?} on the screen", rows);
        }

        #[test]
        fn all_that_is_no_space_appears_once_and_in_order(
            text in any_text(), first in 0..30usize, rest in 0..30usize
        ) {
            let ranges = wrap(&text, first, rest);
            let all: String = ranges.iter().map(|range| without_spaces(&text[range.clone()])).collect();
            prop_assert_eq!(all, without_spaces(&text));
            let edges: Vec<_> = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
            for range in &ranges {
                prop_assert!(range.start <= range.end);
                prop_assert!(edges.contains(&range.start) && edges.contains(&range.end));
            }
            prop_assert!(ranges.is_sorted_by_key(|range| range.start));
        }

        #[test]
        fn what_is_cut_fits(text in any_text(), columns in 0..40usize) {
            prop_assert!(width(&cut(&text, columns)) <= columns);
            prop_assert_eq!(width(&filled(&text, columns)), columns);
            prop_assert_eq!(width(&cut(&text, width(&text))), width(&text));
        }

        #[test]
        fn links_are_parts_of_the_text_in_order(text in "(https?://|mailto:|a|\\.|@|/|한|，|:|\\(| |-){0,40}") {
            let links = links(&text);
            for link in &links {
                prop_assert!(link.start < link.end && text.get(link.clone()).is_some());
            }
            prop_assert!(links.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
