//! Saved state of the screen: drafts, and settings of rooms and of ignored users.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::os;

/// Maximum number of rooms with a saved draft.
const DRAFTS_MAX: usize = 256;
/// Maximum bytes of a draft.
const DRAFT_BYTES_MAX: usize = 1024 * 1024;
/// Maximum bytes of all drafts.
const DRAFTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum bytes of the file: drafts as JSON (a control character takes six bytes), and the rest.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Number of waits for another screen that is saving, and the length of each.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Saved state, by the name of the room (or another key of the screen).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// Texts that were typed and not sent.
    pub(super) drafts: BTreeMap<String, String>,
    /// Texts that were sent and not acknowledged, the oldest first. They are never a part of the
    /// draft: a text and a command would be sent as one message.
    pub(super) unsaid: BTreeMap<String, Vec<String>>,
    /// Rooms with a setting of the bell.
    pub(super) bell: BTreeMap<String, String>,
    /// Rooms with a setting of desktop notifications.
    pub(super) notify: BTreeMap<String, String>,
    /// Handles whose messages are hidden.
    pub(super) ignored: BTreeSet<String>,
}

/// Names whose values this screen set or removed. All others belong to the user's other screens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Names of [`Kept::drafts`] and [`Kept::unsaid`].
    pub(super) drafts: BTreeSet<String>,
    /// Names of [`Kept::bell`].
    pub(super) bell: BTreeSet<String>,
    /// Names of [`Kept::notify`].
    pub(super) notify: BTreeSet<String>,
    /// Names of [`Kept::ignored`].
    pub(super) ignored: BTreeSet<String>,
}

/// Returns the file for a member with that label at the server of that directory, within the
/// directory of all screens ([`os::screen_dir`]).
pub(super) fn path_of(screens: &Path, server: &Path, label: Option<&str>) -> PathBuf {
    let server = server.as_os_str().as_encoded_bytes();
    // Neither of the two contains a zero byte.
    let all = [server, b"\0", label.unwrap_or_default().as_bytes()].concat();
    screens.join(format!("{:016x}.json", fnv1a(&all)))
}

/// Returns the 64-bit FNV-1a hash: the same in every version of the program, and only this user
/// chooses its input.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Returns the saved state, and a warning for the user if it could not be read. A damaged file is
/// moved aside.
pub(super) fn load(path: &Path) -> (Kept, Option<String>) {
    // Nothing is moved in a directory of another user.
    let dir = path.parent().unwrap_or(path);
    let why = match os::check_private_dir(dir).and_then(|()| read(path)) {
        Ok(kept) => return (kept, None),
        Err(e) => e,
    };
    let note = match why.kind() {
        io::ErrorKind::InvalidData => {
            let aside = path.with_extension("bad");
            match fs::rename(path, &aside) {
                Ok(()) => {
                    format!("the file is damaged and was renamed to {}: {why}", aside.display())
                }
                Err(e) => format!("the file is damaged ({why}) and can't be renamed: {e}"),
            }
        }
        _ => why.to_string(),
    };
    (
        Kept::default(),
        Some(format!("can't read drafts and room settings ({}): {note}", path.display())),
    )
}

/// Saves the names that this screen touched and leaves the others: of two screens of one user the
/// last to save decides each name by itself. Nothing is written without a change, and no file is
/// left without contents. The file is complete at any time, whenever the program ends.
///
/// Returns the names of the drafts that are left out, because the file has no room for them. If
/// another screen holds the lock for 200 ms, both may save at once, and one may lose a change.
///
/// # Errors
/// Returns an error of the system, or if the file could not be read or moved aside; the file does
/// not change then.
pub(super) fn save(path: &Path, kept: &Kept, touched: &Touched) -> io::Result<Vec<String>> {
    if let Some(dir) = path.parent() {
        os::make_private_dir(dir)?;
    }
    let lock = locked(path)?;
    let there = match read(path) {
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            fs::rename(path, path.with_extension("bad"))?;
            Kept::default()
        }
        there => there?,
    };
    let mut all = merged(there.clone(), kept, touched);
    let left_out = bounded(&mut all, &touched.drafts);
    if all != there {
        replace(path, &all)?;
    }
    drop(lock);
    Ok(left_out)
}

fn read(path: &Path) -> io::Result<Kept> {
    let file = match os::open_to_read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Locks the file, for one screen at a time. Returns none if another one holds the lock too long,
/// or the file system has no locks.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let beside = path.with_extension("lock");
    let file = os::make_private(&beside)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => break,
        }
    }
    Ok(None)
}

fn replace(path: &Path, kept: &Kept) -> io::Result<()> {
    if *kept == Kept::default() {
        return fs::remove_file(path);
    }
    // The directory belongs to this user, so the name may be guessable. The file of a killed
    // process is overwritten some day.
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = os::make_private(&hidden)?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec_pretty(kept).map_err(io::Error::other)?)?;
        fs::rename(&hidden, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&hidden);
    })
}

fn merged(there: Kept, ours: &Kept, touched: &Touched) -> Kept {
    let mut ignored = there.ignored;
    for name in &touched.ignored {
        match ours.ignored.get(name) {
            Some(name) => ignored.insert(name.clone()),
            None => ignored.remove(name),
        };
    }
    Kept {
        drafts: merged_map(there.drafts, &ours.drafts, &touched.drafts),
        unsaid: merged_map(there.unsaid, &ours.unsaid, &touched.drafts),
        bell: merged_map(there.bell, &ours.bell, &touched.bell),
        notify: merged_map(there.notify, &ours.notify, &touched.notify),
        ignored,
    }
}

fn merged_map<T: Clone>(
    mut there: BTreeMap<String, T>,
    ours: &BTreeMap<String, T>,
    touched: &BTreeSet<String>,
) -> BTreeMap<String, T> {
    for name in touched {
        match ours.get(name) {
            Some(value) => there.insert(name.clone(), value.clone()),
            None => there.remove(name),
        };
    }
    there
}

/// Removes drafts beyond the bounds: those that are too long for one room, then the largest, this
/// screen's own last.
fn bounded(kept: &mut Kept, own: &BTreeSet<String>) -> Vec<String> {
    let mut sizes = BTreeMap::<&String, usize>::new();
    for (name, draft) in &kept.drafts {
        *sizes.entry(name).or_default() += draft.len();
    }
    for (name, unsaid) in &kept.unsaid {
        *sizes.entry(name).or_default() += unsaid.iter().map(String::len).sum::<usize>();
    }
    let mut order: Vec<_> = sizes.into_iter().map(|(name, bytes)| (name.clone(), bytes)).collect();
    order.sort_by_key(|(name, bytes)| (!own.contains(name), *bytes));
    let (mut count, mut bytes) = (0, 0);
    let mut left_out = Vec::new();
    for (name, more) in order {
        let fits = more <= DRAFT_BYTES_MAX && bytes + more <= DRAFTS_BYTES_MAX;
        if fits && count < DRAFTS_MAX {
            (count, bytes) = (count + 1, bytes + more);
        } else {
            kept.drafts.remove(&name);
            kept.unsaid.remove(&name);
            left_out.push(name);
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(&dir.path().join("moot/screen"), Path::new("/srv/moot"), None);
        (dir, path)
    }

    fn draft(room: &str, text: &str) -> (Kept, Touched) {
        let (mut kept, mut touched) = (Kept::default(), Touched::default());
        kept.drafts.insert(room.to_owned(), text.to_owned());
        touched.drafts.insert(room.to_owned());
        (kept, touched)
    }

    fn saved(path: &Path, (kept, touched): &(Kept, Touched)) -> Vec<String> {
        save(path, kept, touched).unwrap()
    }

    #[test]
    fn saved_state_is_loaded_and_an_empty_one_has_no_file() {
        let (_dir, path) = place();
        assert_eq!(load(&path), (Kept::default(), None));
        let (mut kept, mut touched) = draft("ops", "두 줄\n\u{1b}");
        kept.unsaid.insert("ops".into(), vec!["/two".into(), "one\n".into()]);
        kept.ignored.insert("bob".into());
        kept.bell.insert("ops".into(), "all".into());
        kept.notify.insert("ops".into(), "off".into());
        touched.ignored.insert("bob".into());
        touched.bell.insert("ops".into());
        touched.notify.insert("ops".into());
        assert!(saved(&path, &(kept.clone(), touched.clone())).is_empty());
        assert_eq!(load(&path), (kept, None));
        saved(&path, &(Kept::default(), touched));
        assert!(!path.exists());
    }

    #[test]
    fn of_two_screens_each_changes_what_it_touched() {
        let (_dir, path) = place();
        saved(&path, &draft("ops", "from one"));
        saved(&path, &draft("dev", "from another"));
        let both = load(&path).0;
        assert_eq!(both.drafts["ops"], "from one");
        assert_eq!(both.drafts["dev"], "from another");
        // A text that the first has sent meanwhile is removed; the other's is kept.
        saved(&path, &(Kept::default(), draft("ops", "").1));
        let left = load(&path).0;
        assert_eq!(
            left.drafts.into_iter().collect::<Vec<_>>(),
            [("dev".into(), "from another".into())]
        );
    }

    #[test]
    fn unchanged_state_is_not_written() {
        let (_dir, path) = place();
        saved(&path, &draft("ops", "text"));
        let compact = serde_json::to_vec(&load(&path).0).unwrap();
        fs::write(&path, &compact).unwrap();
        saved(&path, &draft("ops", "text"));
        assert_eq!(fs::read(&path).unwrap(), compact, "it was not written again");
        saved(&path, &draft("ops", "other"));
        assert_ne!(fs::read(&path).unwrap(), compact);
    }

    #[test]
    fn damaged_file_is_renamed_and_reported() {
        let (_dir, path) = place();
        saved(&path, &draft("ops", "text"));
        for bad in ["{\"drafts\": {\"ops\": \"te", "{\"drafts\": 5}"] {
            fs::write(&path, bad).unwrap();
            let (kept, note) = load(&path);
            assert_eq!(kept, Kept::default());
            assert!(note.unwrap().contains(".bad"));
            assert_eq!(fs::read_to_string(path.with_extension("bad")).unwrap(), bad);
        }
        fs::write(&path, "{").unwrap();
        saved(&path, &draft("ops", "text"));
        assert_eq!(load(&path).0.drafts["ops"], "text");
        // Additions of a later version are not damage.
        fs::write(&path, "{\"drafts\": {\"a\": \"b\"}, \"more\": 1}").unwrap();
        assert_eq!(load(&path).1, None);
    }

    #[test]
    fn drafts_beyond_the_bound_are_named_and_others_saved() {
        let (_dir, path) = place();
        let (mut kept, mut touched) = draft("long", &"x".repeat(DRAFT_BYTES_MAX + 1));
        for number in 0..=DRAFTS_MAX {
            kept.drafts.insert(format!("{number:03}"), "x".repeat(number + 1));
        }
        touched.drafts.extend(kept.drafts.keys().cloned());
        assert_eq!(saved(&path, &(kept, touched)), ["256", "long"]);
        assert_eq!(load(&path).0.drafts.len(), DRAFTS_MAX);
        // One draft more: this screen's is kept.
        assert_eq!(saved(&path, &draft("new", &"y".repeat(1_000))), ["255"]);
        assert_eq!(load(&path).0.drafts["new"].len(), 1_000);
    }

    #[test]
    fn each_server_and_label_has_its_own_file() {
        let dir = Path::new("/state");
        let of = |server: &str, label| path_of(dir, Path::new(server), label);
        assert_eq!(of("/a", None), of("/a", None));
        assert_ne!(of("/a", None), of("/b", None));
        assert_ne!(of("/a", None), of("/a", Some("x")));
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "as its authors say");
        assert_eq!(of("/a", None).parent(), Some(dir));
    }

    #[test]
    fn screen_that_hangs_while_saving_delays_others_briefly() {
        let (_dir, path) = place();
        saved(&path, &draft("ops", "text"));
        let held = locked(&path).unwrap().unwrap();
        saved(&path, &draft("ops", "other"));
        assert_eq!(load(&path).0.drafts["ops"], "other");
        drop(held);
    }
}
