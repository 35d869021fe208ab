//! Columns of texts: measuring, cutting and filling. By clusters, which is what a person takes for
//! one character, and in the columns that they get when drawn.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns from one tab stop to the next.
const TAB_COLUMNS: usize = 4;
/// Stands for what was cut off.
pub(super) const CUT: &str = "…";
/// Carries a mark that has no letter to stand on.
const CARRIER: &str = "◌";

/// Columns that a text takes when drawn.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(columns).sum()
}

/// Columns that a cluster takes as it stands; none if nothing of it would be seen. Whatever
/// measures goes by this, and so does what puts clusters into cells: a row is as wide as it was
/// taken for.
pub(super) fn cluster_columns(cluster: &str) -> usize {
    if is_ascii(cluster) { 1 } else { cluster.width() }
}

/// Columns of one cluster as [`drawn`] makes it visible: at least one.
pub(super) fn columns(cluster: &str) -> usize {
    if cluster.contains(char::is_control) {
        return 1;
    }
    cluster_columns(cluster).max(1)
}

/// Most clusters: there is nothing to find out about them.
fn is_ascii(cluster: &str) -> bool {
    matches!(cluster.as_bytes(), [b' '..=b'~'])
}

/// A cluster as it is drawn. A mark without a letter stands on a dotted circle: what takes no
/// column is left out of the cells, and people should see that something is there.
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

/// Columns of a space at a column.
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

    /// What people and programs send, and what breaks things.
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
        fn what_is_cut_fits(text in any_text(), columns in 0..40usize) {
            prop_assert!(width(&cut(&text, columns)) <= columns);
            prop_assert_eq!(width(&filled(&text, columns)), columns);
            prop_assert_eq!(width(&cut(&text, width(&text))), width(&text));
        }
    }
}
