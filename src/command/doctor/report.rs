//! `moot doctor`: gathers, mends if asked, and prints the findings.

use serde_json::{Value, json};

use super::{
    checks,
    facts::Facts,
    finding::{Finding, State},
    fix::Fixer,
};
use crate::{
    chat::text::shown,
    command::{
        args::DoctorArgs,
        connect::Context,
        exit_code::{Exit, Failure},
    },
};

pub(in crate::command) fn run(context: &mut Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let facts = Facts::gather(&context.global);
    let mut findings = checks::all(&facts);
    if args.fix {
        let fixer = Fixer::new(&facts);
        findings.iter_mut().for_each(|finding| fixer.fix(finding));
        // What is left is what is seen now; what could not be done says why.
        let after = checks::all(&Facts::gather(&context.global));
        let (done, open): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.state == State::Fixed);
        let left = after.into_iter().map(|new| {
            let same = |old: &&Finding| old.name == new.name && old.text == new.text;
            open.iter().find(same).cloned().unwrap_or(new)
        });
        let is_news = |new: &Finding| new.is_open() || done.iter().all(|old| old.name != new.name);
        findings = left.filter(is_news).collect();
        findings.splice(0..0, done);
    }
    for finding in &findings {
        match context.global.json {
            true => context.out.json(&object(finding))?,
            false => context.out.lines(&text(finding))?,
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (problems, warnings) = (count(State::Problem), count(State::Warning));
    let fixed = count(State::Fixed);
    if context.global.json {
        let summary = json!({
            "type": "doctor", "problems": problems, "warnings": warnings, "fixed": fixed,
        });
        context.out.json(&summary)?;
    } else {
        let fixable = findings.iter().filter(|f| f.is_open() && f.fix.is_some()).count();
        context.out.line(&format!("problems {problems}, warnings {warnings}, fixed {fixed}"))?;
        if fixable > 0 && !args.fix {
            context.out.line("`moot doctor --fix` applies the remedies marked with --fix")?;
        }
    }
    Ok(if problems == 0 { Exit::Done } else { Exit::Failed })
}

fn object(finding: &Finding) -> Value {
    json!({
        "type": "check",
        "name": finding.name,
        "state": finding.state.word(),
        "text": finding.text,
        "advice": finding.advice,
        "fixable": finding.fix.is_some(),
    })
}

/// A line, and for what is wrong one that says what to do.
fn text(finding: &Finding) -> String {
    let mut text =
        format!("{:<8}{}: {}\n", finding.state.word(), finding.name, shown(&finding.text, false));
    if finding.is_open() && !finding.advice.is_empty() {
        let mark = if finding.fix.is_some() { "--fix: " } else { "" };
        text += &format!("        {mark}{}\n", shown(&finding.advice, false));
    }
    text
}
