//! Suggestions for unknown words.

/// Returns the known word with the fewest typing errors (a letter too many, too few, another one,
/// two swapped); none if all are too different. A word with the typed beginning is near.
pub(super) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let letters = typed.chars().count();
    let slips_max = match letters {
        0 => return None,
        1..=3 => 1,
        4..=6 => 2,
        _ => 3,
    };
    let cost = |word: &'a str| match word.starts_with(&typed) {
        true => (0, word),
        false => (slips(&typed, word), word),
    };
    let (slips, word) = known.into_iter().map(cost).min_by_key(|(slips, _)| *slips)?;
    // A word without a common letter is not near, however short it is.
    (slips <= slips_max && slips < letters).then_some(word)
}

/// Returns the optimal string alignment distance,
/// <https://en.wikipedia.org/wiki/Damerau–Levenshtein_distance>.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differ = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + differ);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_with_a_typing_error_gets_the_nearest_word() {
        let known = ["join", "part", "msg", "quit", "announce", "ack"];
        for (typed, meant) in [
            ("jion", Some("join")),
            ("jon", Some("join")),
            ("Joinn", Some("join")),
            ("anounce", Some("announce")),
            ("ann", Some("announce")),
            ("q", Some("quit")),
            ("mgs", Some("msg")),
            ("x", None),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
