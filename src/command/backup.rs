//! `moot backup` and `moot restore`: the history as one file.

use std::path::{Path, PathBuf};

use super::{
    args::{BackupArgs, RestoreArgs},
    connect::Context,
    exit_code::{Exit, Failure},
    time,
};
use crate::{
    chat::text::counted,
    history::{self, Copied},
    os::{self, Lock, LockError, LockNote, Places},
};

pub(super) fn back_up(context: &mut Context, args: &BackupArgs) -> Result<Exit, Failure> {
    let from = places(context, args.system)?.history();
    if args.file == Path::new("-") {
        return print(context, &from);
    }
    if !args.force && args.file.symlink_metadata().is_ok() {
        let text = format!("{} exists; use --force to replace it", args.file.display());
        return Err(Failure::new(Exit::Failed, text));
    }
    let copied = history::back_up(&from, &args.file)?;
    if context.global.json {
        context.out.json(&object("backup", &args.file, &copied))?;
    } else {
        let (file, bytes) = (args.file.display(), copied.bytes);
        context.out.note(&format!(
            "{} copied to {file} ({bytes} bytes)",
            counted(copied.messages, "message")
        ));
    }
    Ok(Exit::Done)
}

/// Writes a backup to standard output.
fn print(context: &mut Context, from: &Path) -> Result<Exit, Failure> {
    let failed =
        |e: std::io::Error| Failure::new(Exit::Failed, format!("can't copy the history: {e}"));
    let name: [u8; 8] = os::random_bytes().map_err(failed)?;
    let name = format!("moot-backup-{:016x}", u64::from_le_bytes(name));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir).map_err(failed)?;
    let path = dir.join("history.db");
    let printed = history::back_up(from, &path).map_err(Failure::from).and_then(|_| {
        let mut file = std::fs::File::open(&path).map_err(failed)?;
        context.out.copy(&mut file)
    });
    let removed = std::fs::remove_dir_all(&dir).map_err(failed);
    printed.and(removed).map(|()| Exit::Done)
}

pub(super) fn restore(context: &mut Context, args: &RestoreArgs) -> Result<Exit, Failure> {
    let places = places(context, args.system)?;
    os::prepare(&places, args.system)?;
    let note = LockNote { pid: std::process::id(), runtime_dir: places.runtime.clone() };
    let dir = places.state.display();
    let _lock = Lock::acquire(&places.lock(), args.system, &note).map_err(|e| match e {
        LockError::Held { .. } => {
            let text = format!("a server runs in {dir}; stop it first (`moot stop`)");
            Failure::new(Exit::Failed, text)
        }
        LockError::Io(e) => Failure::new(Exit::Failed, format!("can't lock {dir}: {e}")),
    })?;
    let now = time::rfc3339(os::wall_us()).replace([':', '.'], "-");
    let aside = places.state.join(format!("history-until-{now}.db"));
    let (copied, had_one) = history::restore(&args.file, &places.history(), &aside)?;
    if context.global.json {
        let mut object = object("restored", &args.file, &copied);
        object["previous"] = had_one.then(|| aside.display().to_string()).into();
        context.out.json(&object)?;
    } else {
        let from = args.file.display();
        context.out.note(&format!("{} restored from {from}", counted(copied.messages, "message")));
        if had_one {
            context.out.note(&format!("the previous history was saved as {}", aside.display()));
        }
    }
    Ok(Exit::Done)
}

fn places(context: &Context, system: bool) -> Result<Places, Failure> {
    if !system {
        return context.places();
    }
    let choice = context.global.server.as_deref();
    Ok(os::resolve_own(choice, &os::Env::from_process(), true)?)
}

fn object(kind: &str, file: &Path, copied: &Copied) -> serde_json::Value {
    let file: PathBuf = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    serde_json::json!({
        "type": kind,
        "file": file.display().to_string(),
        "messages": copied.messages,
        "bytes": copied.bytes,
    })
}
