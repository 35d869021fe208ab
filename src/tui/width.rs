//! Columns of texts: measuring, cutting and filling. By clusters, which people take for one
//! character, and in the columns that they get when drawn.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns from one tab stop to the next.
const TAB_COLUMNS: usize = 4;
/// Mark of text that was cut off.
pub(super) const CUT: &str = "…";
/// Carrier of a mark that has no letter.
const CARRIER: &str = "◌";

/// Returns the columns of a text when drawn.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(columns).sum()
}

/// Returns the columns of a cluster without replacement; 0 if nothing of it would be visible.
/// Measuring and drawing both use this function, so that a row has the columns that were measured.
pub(super) fn cluster_columns(cluster: &str) -> usize {
    if is_ascii(cluster) { 1 } else { cluster.width() }
}

/// Returns the columns of one cluster as [`drawn`] makes it visible: at least one.
pub(super) fn columns(cluster: &str) -> usize {
    if cluster.contains(char::is_control) {
        return 1;
    }
    cluster_columns(cluster).max(1)
}

/// Returns true for most clusters: their width is known.
fn is_ascii(cluster: &str) -> bool {
    matches!(cluster.as_bytes(), [b' '..=b'~'])
}

/// Returns a cluster as it is drawn. A mark without a letter gets a dotted circle: cells without
/// columns are left out, and people should see that something is there.
pub(super) fn drawn(cluster: &str) -> Cow<'_, str> {
    if is_ascii(cluster) {
        return cluster.into();
    }
    if cluster.contains(char::is_control) {
        // Safe texts have only line ends and tabs, where one line was expected.
        return " ".into();
    }
    if cluster_columns(cluster) > 0 {
        return cluster.into();
    }
    let carried = format!("{CARRIER}{cluster}");
    let one = carried.graphemes(true).nth(1).is_none() && cluster_columns(&carried) == 1;
    // A single filler or half a syllable does not join the circle.
    if one { carried.into() } else { CARRIER.into() }
}

/// Returns a text that is never wider than `columns`; with `…` at the end if it was cut.
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

/// Part of a text that fits into some columns.
struct Fit {
    /// Bytes that fit, with `…` behind them if it is not the whole text.
    end: usize,
    whole: bool,
    /// True if each cluster is drawn as it is written.
    as_is: bool,
}

/// Returns the part that fits. Only the beginning is read: a text may be long, a row is not.
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

/// Returns a text cut or filled to exactly `columns`.
pub(super) fn filled(text: &str, columns: usize) -> String {
    let mut out = cut(text, columns).into_owned();
    let blank = columns - width(&out);
    out.extend(std::iter::repeat_n(' ', blank));
    out
}

/// Returns the columns of a space at a column.
pub(super) fn space_columns(space: &str, column: usize) -> usize {
    if space == "\t" { TAB_COLUMNS - column % TAB_COLUMNS } else { columns(space) }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use ratatui::style::Style;

    use super::*;
    use crate::tui::{cells::tests::ends, frame::Row};

    pub(in crate::tui) const FAMILY: &str = "👩‍👩‍👧";

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
    fn cut_text_is_never_too_wide_and_never_halves_a_letter() {
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
    fn columns_of_a_table_are_aligned() {
        assert_eq!(filled("철수", 6), "철수  ");
        assert_eq!(filled("철수와 영희", 6), "철수… ");
        assert_eq!(filled("한", 1), "…");
        assert_eq!(filled("한", 0), "");
    }

    /// Texts of people and programs, and texts that break things.
    pub(in crate::tui) fn any_text() -> impl Strategy<Value = String> {
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

    proptest! {
        #[test]
        fn cut_text_fits(text in any_text(), columns in 0..40usize) {
            prop_assert!(width(&cut(&text, columns)) <= columns);
            prop_assert_eq!(width(&filled(&text, columns)), columns);
            prop_assert_eq!(width(&cut(&text, width(&text))), width(&text));
        }
    }
}
