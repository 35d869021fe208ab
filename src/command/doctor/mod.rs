//! `moot doctor`: what is wrong on this machine, in plain words, and what to do about it.
//!
//! `facts` looks, `checks` decides (pure), `fix` does what is safe to do, `report` prints.

mod advice;
mod checks;
mod facts;
mod fix;
mod report;

pub(super) use self::report::run;
