//! `moot completions` and `moot man`: documentation as text and as files.

use std::fs;

use super::{completion, topics};
use crate::{
    chat::text::counted,
    command::{
        args::{self, CompletionsArgs, ManArgs},
        connect::Context,
        exit_code::{Exit, Failure},
    },
};

/// Runs `moot completions`: prints the script with which a shell completes its input.
pub(in crate::command) fn completions(
    context: &mut Context,
    args: &CompletionsArgs,
) -> Result<Exit, Failure> {
    let script = completion::script(args.shell.name()).map_err(|why| failed(&why))?;
    context.out.lines(&script)?;
    Ok(Exit::Done)
}

/// Runs `moot man`: prints one page, or writes all of them as files.
pub(in crate::command) fn man(context: &mut Context, args: &ManArgs) -> Result<Exit, Failure> {
    let pages = topics::all_pages(args::definition());
    let Some(dir) = &args.dir else {
        let page = pages.iter().find(|page| page.is_named(&args.command)).ok_or_else(|| {
            let name = args.command.join(" ");
            let text = format!("no manual page for {name:?}; `moot help` lists the commands");
            Failure::new(Exit::Usage, text)
        })?;
        context.out.lines(&page.text)?;
        return Ok(Exit::Done);
    };
    for page in &pages {
        let path = page.path_in(dir);
        let dir = path.parent().unwrap_or(dir);
        fs::create_dir_all(dir).map_err(|e| failed(&format!("{}: {e}", dir.display())))?;
        fs::write(&path, &page.text).map_err(|e| failed(&format!("{}: {e}", path.display())))?;
    }
    let count = counted(pages.len() as u64, "page");
    context.out.note(&format!("{count} in {}", dir.display()));
    context.out.ok("man", &[("pages", pages.len().into())])?;
    Ok(Exit::Done)
}

fn failed(why: &str) -> Failure {
    Failure::new(Exit::Failed, why)
}
