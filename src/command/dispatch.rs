//! The program: its command line is read, and its command run.

use std::process::ExitCode;

use super::{
    announce, answer,
    args::Verb,
    ask, backup, bench,
    connect::Context,
    doctor,
    exit_code::{Exit, Failure},
    interrupt, join, link, listen, manual,
    output::Output,
    parse, past, rooms, run, send, serve, status, wait, who,
};
use crate::os;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = manual::complete() {
        return code;
    }
    let cli = match parse::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Verb::Serve(serve) = &cli.verb
        && serve.detached
    {
        os::detach();
    }
    let json = cli.global.json;
    let out = Output::new(&cli.global);
    let mut context = Context { global: cli.global, out };
    let done =
        run_command(&mut context, cli.verb).and_then(|exit| context.out.flush().map(|()| exit));
    match done {
        Ok(Exit::Interrupted) => {
            drop(context);
            interrupt::exit_by_signal()
        }
        Ok(exit) => exit.into(),
        Err(failure) => {
            // What was printed before comes before.
            drop(context);
            Output::error(&failure, json);
            failure.exit.into()
        }
    }
}

fn run_command(context: &mut Context, verb: Verb) -> Result<Exit, Failure> {
    if verb.prints_seldom() {
        Output::end_when_unread();
    }
    match verb {
        Verb::Join(args) => join::run(context, &args),
        Verb::Send(args) => send::run(context, &args),
        Verb::Run(args) => run::run(context, &args),
        Verb::Listen(args) => listen::run(context, &args),
        Verb::Wait(args) => wait::run(context, &args),
        Verb::Ask(args) => ask::run(context, &args),
        Verb::Answer(args) => answer::run(context, &args),
        Verb::History(args) => past::history(context, &args),
        Verb::Search(args) => past::search(context, &args),
        Verb::Read(args) => past::read(context, &args),
        Verb::Badge => past::badge(context),
        Verb::Announce(args) => announce::run(context, &args),
        Verb::Notices { verb } => announce::notices(context, &verb),
        Verb::Who(args) => who::run(context, &args),
        Verb::Rooms => rooms::rooms(context),
        Verb::Room { verb } => rooms::room(context, &verb),
        Verb::Kick { who } => rooms::kick(context, &who),
        Verb::Drop { session } => rooms::drop_session(context, session),
        Verb::Away(words) => rooms::away(context, &words),
        Verb::Back => rooms::back(context),
        Verb::Status(args) => status::status(context, &args),
        Verb::Doctor(args) => doctor::run(context, &args),
        Verb::Bench(args) => bench::run(context, &args),
        Verb::Serve(args) => serve::run(context, &args),
        Verb::Stop => status::stop(context),
        Verb::Backup(args) => backup::back_up(context, &args),
        Verb::Restore(args) => backup::restore(context, &args),
        Verb::Export(args) => past::export(context, &args),
        Verb::Link(args) => link::run(context, &args),
        Verb::Completions(args) => manual::completions(context, &args),
        Verb::Man(args) => manual::man(context, &args),
    }
}
