//! Where lines and words begin and end, always between two clusters.

use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};
use unicode_segmentation::UnicodeSegmentation as _;

use super::draft::{boundary_from, boundary_to};

/// From the end of the line before to the end of the line that `at` is in.
pub(super) fn line_at(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    start..end
}

/// The edge of a line, or over it if that is where one is.
pub(super) fn or_further(
    edge: usize,
    at: usize,
    over: impl Fn(&str, usize) -> usize,
    text: &str,
) -> usize {
    if edge == at { over(text, at) } else { edge }
}

/// Where the word begins that is before `at` or around it.
pub(super) fn word_before(text: &str, at: usize) -> usize {
    let word = text[..at].split_word_bound_indices().rfind(|(_, word)| is_word(word));
    boundary_to(text, word.map_or(0, |(start, _)| start))
}

/// Where the word ends that is behind `at` or around it.
pub(super) fn word_behind(text: &str, at: usize) -> usize {
    let word = text[at..].split_word_bound_indices().find(|(_, word)| is_word(word));
    boundary_from(text, word.map_or(text.len(), |(start, word)| at + start + word.len()))
}

/// Letters and digits, and emoji: they are not skipped like the commas between words.
fn is_word(part: &str) -> bool {
    part.chars().any(|c| {
        c.is_alphanumeric()
            || (!c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Symbol)
    })
}
