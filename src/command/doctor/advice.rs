//! Remedies as commands and sentences.

use super::facts::Facts;
use crate::os;

/// Returns how to get a place for a server, whose nearest existing directory is `nearest`. Only
/// directories below the home directory are for a user to take back from root.
pub(super) fn place_remedy(facts: &Facts, nearest: Option<&os::Dir>) -> String {
    const OTHER: &str = "use a directory of yours with --server DIR/";
    let at = nearest.map(os::Dir::path);
    match (&facts.home, at) {
        (Some(home), Some(at)) if at != home && at.starts_with(home) => {
            let chown = chown(facts, &at.display().to_string());
            format!("make {} writable (if `sudo` left it: {chown}), or {OTHER}", at.display())
        }
        (Some(home), Some(at)) if home.starts_with(at) || home == at => format!(
            "set HOME (now {}) to an existing directory that you can write to, or {OTHER}",
            home.display()
        ),
        // A file is on the way.
        (Some(home), None) => format!(
            "set HOME (now {}) to a directory that you can write to, or {OTHER}",
            home.display()
        ),
        _ => OTHER.to_owned(),
    }
}

/// Returns the command that gives a directory and its files back to the user who asks.
pub(super) fn chown(facts: &Facts, dir: &str) -> String {
    let user = facts.user.clone().unwrap_or_else(|| facts.uid.to_string());
    format!("sudo chown -R {user} {}", quoted(dir))
}

/// Quotes a path for a shell.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    match !path.is_empty() && path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}
