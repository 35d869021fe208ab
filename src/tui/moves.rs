//! Short lists of the members that joined and left.

use std::fmt::Write as _;

use crate::{
    chat::member::EndCause,
    tui::scrollback::{Move, Moves},
};

/// Maximum number of names of one kind of move.
const NAMES_MAX: usize = 5;

/// Result of all moves of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoveEnd {
    Came,
    Left(EndCause),
    CameAndWent,
    WentAndCame,
}

/// Returns `→ ann, bob joined · ← cid left (killed)`: each name once.
pub(super) fn text(moves: &Moves) -> String {
    let mut groups: Vec<(MoveEnd, Vec<&str>)> = Vec::new();
    for (name, end) in ends(moves) {
        match groups.iter_mut().find(|(known, _)| *known == end) {
            Some((_, names)) => names.push(name),
            None => groups.push((end, vec![name])),
        }
    }
    groups.sort_by_key(|(end, _)| order(*end));
    let mut said: Vec<_> = groups.iter().map(|(end, names)| group(*end, names)).collect();
    if moves.more > 0 {
        said.push(format!("{} more before", moves.more));
    }
    said.join(" · ")
}

/// Returns the names in the order of their first moves.
fn ends(moves: &Moves) -> Vec<(&str, MoveEnd)> {
    let mut seen: Vec<(&Move, &Move)> = Vec::new();
    for one in &moves.all {
        match seen.iter_mut().find(|(first, _)| first.name == one.name) {
            Some((_, last)) => *last = one,
            None => seen.push((one, one)),
        }
    }
    let end = |first: &Move, last: &Move| match (first.left, last.left) {
        (None, None) => MoveEnd::Came,
        (Some(_), Some(cause)) => MoveEnd::Left(cause),
        (None, Some(EndCause::Quit | EndCause::Closed)) => MoveEnd::CameAndWent,
        // The reason of a forced end is not folded away.
        (None, Some(cause)) => MoveEnd::Left(cause),
        (Some(_), None) => MoveEnd::WentAndCame,
    };
    seen.into_iter().map(|(first, last)| (first.name.as_str(), end(first, last))).collect()
}

fn order(end: MoveEnd) -> usize {
    match end {
        MoveEnd::Came => 0,
        MoveEnd::WentAndCame => 1,
        MoveEnd::Left(_) => 2,
        MoveEnd::CameAndWent => 3,
    }
}

fn group(end: MoveEnd, names: &[&str]) -> String {
    let names = listed(names);
    match end {
        MoveEnd::Came => format!("→ {names} joined"),
        MoveEnd::Left(EndCause::Quit) => format!("← {names} left"),
        MoveEnd::Left(cause) => format!("← {names} left ({})", cause.word()),
        MoveEnd::CameAndWent => format!("↔ {names} came and went"),
        MoveEnd::WentAndCame => format!("↔ {names} left and came back"),
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.len().min(NAMES_MAX);
    let mut out = names[..shown].join(", ");
    if names.len() > shown {
        // Writing to a string does not fail.
        let _ = write!(out, " and {} more", names.len() - shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(all: &[(&str, Option<EndCause>)]) -> String {
        let one =
            |(name, left): &(&str, Option<EndCause>)| Move { name: (*name).into(), left: *left };
        text(&Moves { wall_us: 0, all: all.iter().map(one).collect(), more: 0 })
    }

    #[test]
    fn each_name_is_said_once() {
        let (quit, killed) = (Some(EndCause::Quit), Some(EndCause::Killed));
        assert_eq!(said(&[("ann", None), ("bob", None)]), "→ ann, bob joined");
        let kicked = Some(EndCause::Kicked);
        assert_eq!(
            said(&[("ann", None), ("bob", None), ("ann", kicked), ("bob", quit)]),
            "← ann left (kicked) · ↔ bob came and went"
        );
        assert_eq!(
            said(&[("cid", killed), ("ann", None), ("bob", quit), ("dan", quit)]),
            "→ ann joined · ← cid left (killed) · ← bob, dan left"
        );
        assert_eq!(
            said(&[
                ("ann", None),
                ("ann", quit),
                ("bob", quit),
                ("bob", None),
                ("ann", None),
                ("ann", quit)
            ]),
            "↔ bob left and came back · ↔ ann came and went"
        );
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<_> = (1..=12).map(|n| n.to_string()).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
        assert_eq!(said(&all), "→ 1, 2, 3, 4, 5 and 7 more joined");
    }
}
