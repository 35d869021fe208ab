//! The command line: one verb a file, the only clap, the only place that prints.

mod announce;
mod answer;
mod args;
mod ask;
mod backup;
mod bench;
mod connect;
mod doctor;
mod exec;
mod exit_code;
mod input;
mod interrupt;
mod join;
mod json;
mod lines;
mod listen;
mod manual;
mod metrics;
mod notify;
mod output;
mod parse;
mod past;
mod render;
mod rooms;
mod run;
mod screen;
mod send;
mod serve;
mod status;
mod style;
mod submits;
mod table;
#[doc(hidden)]
pub mod time;
mod wait;
mod who;

use std::process::ExitCode;

pub use interrupt::interrupt;

use self::{
    args::Verb,
    connect::Context,
    exit_code::{Exit, Failure},
    output::Output,
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
    let done = run(&mut context, cli.verb).and_then(|exit| context.out.flush().map(|()| exit));
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

fn run(context: &mut Context, verb: Verb) -> Result<Exit, Failure> {
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
        Verb::Completions(args) => manual::completions(context, &args),
        Verb::Man(args) => manual::man(context, &args),
    }
}
