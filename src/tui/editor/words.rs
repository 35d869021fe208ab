//! Boundaries of lines and words, always between two clusters.

use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};
use unicode_segmentation::UnicodeSegmentation as _;

use super::draft::{boundary_from, boundary_to};

/// Returns the line around `at`, without its line ends.
pub(super) fn line_at(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    start..end
}

/// Returns the edge of a line, or the next one if `at` is there already.
pub(super) fn or_further(
    edge: usize,
    at: usize,
    over: impl Fn(&str, usize) -> usize,
    text: &str,
) -> usize {
    if edge == at { over(text, at) } else { edge }
}

/// Returns the start of the word before `at` or around it.
pub(super) fn word_before(text: &str, at: usize) -> usize {
    let word = text[..at].split_word_bound_indices().rfind(|(_, word)| is_word(word));
    boundary_to(text, word.map_or(0, |(start, _)| start))
}

/// Returns the end of the word behind `at` or around it.
pub(super) fn word_behind(text: &str, at: usize) -> usize {
    let word = text[at..].split_word_bound_indices().find(|(_, word)| is_word(word));
    boundary_from(text, word.map_or(text.len(), |(start, word)| at + start + word.len()))
}

/// Returns true for letters, digits and emoji; commas between words are skipped.
fn is_word(part: &str) -> bool {
    part.chars().any(|c| {
        c.is_alphanumeric()
            || (!c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Symbol)
    })
}
