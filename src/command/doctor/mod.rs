//! `moot doctor`: what is wrong on this machine, in plain words, and what to do about it.
//!
//! `facts` looks, `checks` and its three parts decide (pure), `fix` does what is safe to do,
//! `report` prints.

mod advice;
mod checks;
mod facts;
mod file_checks;
mod finding;
mod fix;
mod machine_checks;
mod report;
mod server_checks;

pub(super) use self::report::run;
