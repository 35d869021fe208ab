//! Paragraphs: a message's text as rows of styled pieces.

use std::{ops::Range, sync::Arc};

use caseless::Caseless;
use ratatui::style::Style;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::{
    frame::{Row, Span},
    links::{links, target},
    width::{CUT, columns, drawn, space_columns},
    wrap::wrap,
};
use crate::chat::text::mention_ranges;

/// Appearance of the parts of a message, and the words that select them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) base: Style,
    /// Style of links; patches the base, and so do those below, in this order.
    pub(super) link: Style,
    pub(super) mention: Style,
    pub(super) found: Style,
    /// User whose mentions are marked; none if empty.
    pub(super) user: &'a str,
    /// Words of the search.
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

/// Returns a message's text as rows of styled pieces; `first` and `rest` as for [`wrap`].
pub(super) fn rows(text: &str, first: usize, rest: usize, look: &Look<'_>) -> Vec<Row> {
    let marked = Marked::new(text, look);
    let row = |(index, range): (usize, Range<usize>)| {
        let limit = if index == 0 { first } else { rest };
        row(&marked, range, limit.max(1), look)
    };
    wrap(text, first, rest).into_iter().enumerate().map(row).collect()
}

/// A text with the marks of its parts.
struct Marked<'a> {
    text: &'a str,
    /// Set of marks for each byte; empty if there are none.
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

    /// Returns the marks of a cluster: the union of its bytes' marks, since it can't be drawn in
    /// two styles.
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

/// Adds a cluster to a piece of a row; returns its columns.
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

/// Returns the places of words in a text, in any case and composition; in whole clusters.
fn found(text: &str, words: &[String]) -> Vec<Range<usize>> {
    if words.is_empty() {
        return Vec::new();
    }
    let folded = Folded::new(text);
    words.iter().flat_map(|word| folded.find(word)).collect()
}

/// A text in the form in which texts are compared, as in the search of the history.
struct Folded {
    text: String,
    /// Start of each cluster in that form, and in the text; and both ends.
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

    /// Returns the start of the cluster that has the byte `at` of the folded text.
    fn start(&self, at: usize) -> usize {
        let next = self.clusters.partition_point(|(folded, _)| *folded <= at);
        self.clusters[next.saturating_sub(1)].1
    }

    /// Returns the end of the cluster that has the byte before `at`.
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
    use crate::tui::{
        cells::tests::ends,
        width::{
            cut, filled,
            tests::{FAMILY, any_text},
            width,
        },
    };

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

    /// The pieces of all rows whose style differs from the base.
    fn special(rows: &[Row], style: Style) -> Vec<&str> {
        let spans = rows.iter().flat_map(|row| &row.spans);
        spans.filter(|span| span.style == style).map(|span| span.text.as_str()).collect()
    }

    #[test]
    fn a_mark_without_a_letter_is_seen() {
        assert_eq!(texts("\u{301}a", 9, 9), ["◌\u{301}a"]);
        assert_eq!(texts("a\n\u{301}", 9, 9), ["a", "◌\u{301}"]);
        assert_eq!(cut("\u{200d}", 9), "◌\u{200d}");
        // A filler and half a syllable would be invisible.
        assert_eq!(texts("a\u{3164}b", 9, 9), ["a◌b"]);
        assert_eq!(texts("\u{1161}", 9, 9), ["◌"]);
        assert_eq!(filled("\u{3164}\u{3164}", 4), "◌◌  ");
        assert_eq!(width("\u{3164}"), 1);
    }

    #[test]
    fn tabs_go_to_the_next_stop() {
        assert_eq!(texts("a\tb\t\tc", 20, 20), ["a   b       c"]);
        assert_eq!(texts("한\tb", 20, 20), ["한  b"]);
        assert_eq!(texts("\tx", 20, 20), ["    x"]);
        assert_eq!(texts("abc\tdef", 5, 5), ["abc", "def"]);
    }

    #[test]
    fn cluster_wider_than_a_row_is_marked() {
        assert_eq!(texts("한a글", 1, 1), ["…", "a", "…"]);
        assert_eq!(texts("한a", 0, 0), ["…", "a"]);
        assert_eq!(texts("한", 1, 4), ["", "한"], "there is room on the next row");
        let wide = format!("a{}b", ["👩"; 9].join("\u{200d}"));
        assert!(texts(&wide, 4, 4).iter().all(|row| width(row) <= 4));
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
    fn mentions_and_search_words_are_highlighted() {
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
    }
}
