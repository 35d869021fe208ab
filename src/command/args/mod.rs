//! Definition of the command line; the only place that uses `clap`.

mod announce;
mod ask;
mod backup;
mod bench;
mod cli;
mod exec;
mod link;
mod manual;
mod past;
mod rooms;
mod run;
mod server;
mod talk;
mod values;

pub(super) use self::{
    announce::{AnnounceArgs, NoticeVerb},
    ask::{AnswerArgs, AskArgs, WaitArgs},
    backup::{BackupArgs, ExportArgs, RestoreArgs},
    bench::{BenchArgs, BenchRate},
    cli::{Cli, Global, Verb, definition},
    exec::{ExecArgs, Program, gather},
    link::LinkArgs,
    manual::{CompletionsArgs, ManArgs},
    past::{HistoryArgs, ReadArgs, SearchArgs},
    rooms::{RoomUser, RoomVerb, WhoArgs},
    run::RunArgs,
    server::{Broadcast, DoctorArgs, ServeArgs, StatusArgs},
    talk::{JoinArgs, ListenArgs, SendArgs, Words},
    values::{Color, ListenTarget, OnOff, Require, Somebody, WaitArg, check_will},
};
