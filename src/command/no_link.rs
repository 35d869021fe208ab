//! `moot link` in a build without it.

use super::{
    args::LinkArgs,
    connect::Context,
    exit_code::{Exit, Failure},
};

pub(super) fn run(_context: &mut Context, _args: &LinkArgs) -> Result<Exit, Failure> {
    let text = "this build of moot has no `moot link`; install one with \
                `cargo install moot --features link`";
    Err(Failure::new(Exit::Failed, text))
}
