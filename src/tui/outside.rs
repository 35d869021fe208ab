//! Programs of the user's choice that run in the terminal in place of the screen: pager and editor.

use std::{
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{chat::text::shown, limits::INPUT_BYTES_MAX, os};

/// Maximum bytes of an edited text.
const EDITED_BYTES_MAX: u64 = INPUT_BYTES_MAX as u64;
/// Minimum run time of a pager that a user read.
const UNREAD: Duration = Duration::from_millis(300);

/// Shows a text in the user's pager (`PAGER`, else the first one that exists). Terminal commands in
/// the text are escaped.
///
/// # Errors
/// Returns an error that names the pager if it can't be started.
pub(super) fn page(text: &str) -> io::Result<()> {
    let begun = Instant::now();
    let pager = run_pager(&shown(text, true))?;
    if begun.elapsed() < UNREAD || pager.is_named("more") {
        // A pager that does not wait at the end of a text (`cat`, `more`) would be covered by the
        // screen at once.
        wait_for_enter()?;
    }
    Ok(())
}

/// Opens a text in an editor (`VISUAL`, `EDITOR`, else the system's). Returns none if the editor
/// failed, or if the text has not changed. One line end at the end is dropped: most editors add it.
///
/// # Errors
/// Returns an error without an editor, or if its file can't be read; the file is then left, and
/// the error names it.
pub(super) fn edit(text: &str) -> io::Result<Option<String>> {
    let editor =
        OutsideWords::of_variables(&["VISUAL", "EDITOR"]).unwrap_or(OutsideWords::of(os::EDITOR));
    edit_with(text, &place_for_text(), |file| editor.command().arg(file).status())
        .map_err(|e| editor.named(e))
}

/// A program and its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OutsideWords {
    program: String,
    arguments: Vec<String>,
}

impl OutsideWords {
    fn of(program: &str) -> Self {
        Self { program: program.to_owned(), arguments: Vec::new() }
    }

    /// Returns the command line in the first of these variables that is not empty.
    fn of_variables(names: &[&str]) -> Option<Self> {
        names.iter().find_map(|name| Self::parse(&env::var(name).ok()?))
    }

    /// Splits a command line as a shell does (`code --wait`). If the whole line is a file, it is a
    /// program with spaces or backslashes in its path.
    fn parse(line: &str) -> Option<Self> {
        if Path::new(line).is_file() {
            return Some(Self::of(line));
        }
        let mut words = shlex::split(line)?.into_iter();
        Some(Self { program: words.next()?, arguments: words.collect() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    fn is_named(&self, name: &str) -> bool {
        Path::new(&self.program).file_stem().is_some_and(|stem| stem == name)
    }

    fn named(&self, e: io::Error) -> io::Error {
        match e.kind() {
            io::ErrorKind::NotFound => {
                io::Error::new(e.kind(), format!("{}: no such program", self.program))
            }
            _ => e,
        }
    }
}

fn run_pager(text: &str) -> io::Result<OutsideWords> {
    if let Some(pager) = OutsideWords::of_variables(&["PAGER"]) {
        return feed(&pager, text).map(|()| pager.clone()).map_err(|e| pager.named(e));
    }
    for pager in os::PAGERS.iter().copied().map(OutsideWords::of) {
        match feed(&pager, text) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            done => return done.map(|()| pager),
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no pager found; set PAGER to one"))
}

/// Runs a pager with a text on its standard input. The pager reads keys from the terminal itself.
fn feed(pager: &OutsideWords, text: &str) -> io::Result<()> {
    let mut command = pager.command();
    if pager.is_named("less") {
        // With the option to quit after a short text, the user would see nothing.
        command.arg("-+F");
    }
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // The pager may end before it has read all.
        let _ = input.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = input.write_all(b"\n");
        }
    }
    child.wait().map(drop)
}

fn wait_for_enter() -> io::Result<()> {
    let mut out = os::terminal_output()?;
    write!(out, "\n[Enter: back to the screen] ")?;
    out.flush()?;
    let mut input = os::standard_input()?;
    let mut byte = [0];
    while input.read(&mut byte)? == 1 && !matches!(byte[0], b'\n' | b'\r') {}
    Ok(())
}

/// Returns the directory for an edited text: the one that ends with this login, else the one for
/// temporary files.
fn place_for_text() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // A variable that `su` or `sudo` left in the environment names another user's directory.
    let is_own = |dir: &PathBuf| os::owner_of(dir).is_ok_and(|uid| uid == os::own_uid());
    runtime.filter(is_own).unwrap_or_else(env::temp_dir)
}

fn edit_with(
    text: &str,
    dir: &Path,
    run: impl FnOnce(&Path) -> io::Result<ExitStatus>,
) -> io::Result<Option<String>> {
    let file = os::hidden_name(&dir.join("moot-message"))?;
    let begun = os::make_private(&file).and_then(|mut file| file.write_all(text.as_bytes()));
    let status = begun.and_then(|()| run(&file));
    let edited = match status {
        Ok(status) if status.success() => read_back(&file).map(Some).map_err(|e| {
            let path = file.display();
            io::Error::new(e.kind(), format!("can't read the edited text ({path}): {e}"))
        })?,
        Ok(_) => None,
        Err(e) => {
            let _ = fs::remove_file(&file);
            return Err(e);
        }
    };
    let _ = fs::remove_file(&file);
    Ok(edited.filter(|edited| edited != text))
}

fn read_back(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    os::open_to_read(file)?.take(EDITED_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > EDITED_BYTES_MAX {
        let why = format!("more than {EDITED_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let text = text.replace("\r\n", "\n");
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Result of a program: success or failure.
    fn ended(well: bool) -> ExitStatus {
        let own = env::current_exe().unwrap();
        let option = if well { "--help" } else { "--no-such-option" };
        let mut command = Command::new(own);
        command.arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    }

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).unwrap().next().is_none()
    }

    #[test]
    fn command_line_is_split_and_a_file_is_one_word() {
        let words = OutsideWords::parse("code --wait 'a b'").unwrap();
        assert_eq!((words.program.as_str(), words.arguments.len()), ("code", 2));
        assert_eq!(words.arguments[1], "a b");
        assert_eq!(OutsideWords::parse(""), None);
        assert_eq!(OutsideWords::parse("vi 'open"), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("my editor");
        fs::write(&path, "").unwrap();
        assert_eq!(
            OutsideWords::parse(path.to_str().unwrap()),
            Some(OutsideWords::of(path.to_str().unwrap()))
        );
        assert!(
            OutsideWords::of("/usr/bin/less").is_named("less")
                && !OutsideWords::of("lesser").is_named("less")
        );
    }

    #[test]
    fn edited_text_is_returned_and_its_file_removed() {
        let dir = tempfile::tempdir().unwrap();
        let edited = edit_with("안녕", dir.path(), |file| {
            assert_eq!(fs::read_to_string(file).unwrap(), "안녕");
            assert_ne!(file, dir.path().join("moot-message"), "nobody guesses it");
            fs::write(file, "안녕\r\n하세요\n\n").unwrap();
            Ok(ended(true))
        });
        assert_eq!(edited.unwrap().as_deref(), Some("안녕\n하세요\n"));
        assert!(is_empty(dir.path()));
    }

    #[test]
    fn a_text_as_it_was_and_an_editor_that_failed_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let same = edit_with("text", dir.path(), |file| {
            // As `vi` does with a text that has no line end.
            fs::write(file, "text\n").map(|()| ended(true))
        });
        assert_eq!(same.unwrap(), None);
        let failed =
            edit_with("text", dir.path(), |file| fs::write(file, "half").map(|()| ended(false)));
        assert_eq!(failed.unwrap(), None);
        let absent = edit_with("text", dir.path(), |_| Err(io::ErrorKind::NotFound.into()));
        assert!(absent.is_err() && is_empty(dir.path()));
    }

    #[test]
    fn unreadable_edited_file_is_kept_and_named() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [b"\xff\xfe".to_vec(), vec![b'x'; INPUT_BYTES_MAX + 1]] {
            let mut at = PathBuf::new();
            let e = edit_with("text", dir.path(), |file| {
                at = file.to_owned();
                fs::write(file, &bad).map(|()| ended(true))
            });
            let e = e.unwrap_err().to_string();
            assert!(e.contains(at.to_str().unwrap()), "{e}");
            assert_eq!(fs::read(&at).unwrap(), bad);
        }
    }

    #[test]
    fn missing_program_is_named() {
        let e = OutsideWords::of("no-such-editor").named(io::ErrorKind::NotFound.into());
        assert!(e.to_string().contains("no-such-editor"));
        assert!(feed(&OutsideWords::of("no-such-pager-of-moot"), "text").is_err());
    }
}
