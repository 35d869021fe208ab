//! `moot link --check`: tries each thing that a link needs, and reports faults in plain words.

use tokio::runtime::Builder;

use super::{
    carrier::{Carrier, CheckSubjects, LinkFinding, Verdict},
    local::{LocalError, LocalSession},
    run::{LinkFailure, LinkOptions},
    subject,
};
use crate::{
    chat::{
        linked::{LinkRequest, LinkedStream},
        names::RoomName,
        request::Request,
    },
    client::RefusalCode,
    os::Places,
    wire::hello::Hello,
};

/// Tries everything; returns the findings in the order in which a link needs them.
///
/// # Errors
/// Returns an error if the system has reached its limit of threads or descriptors.
pub fn check(
    options: &LinkOptions,
    places: &Places,
    hello: &Hello,
) -> Result<Vec<LinkFinding>, LinkFailure> {
    let mut findings = vec![check_here(options, places, hello)];
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let there = runtime.block_on(async {
        let carrier = match Carrier::connect_plain(&options.carrier).await {
            Ok(carrier) => carrier,
            Err(e) => return vec![finding(Verdict::Problem, e.to_string())],
        };
        if options.create {
            match carrier.create_stream(&options.limits).await {
                Ok(_) => {}
                Err(e) => return vec![finding(Verdict::Problem, e.to_string())],
            }
        }
        carrier.check(&subjects(options), &options.limits).await
    });
    findings.extend(there);
    runtime.shutdown_background();
    Ok(findings)
}

/// Tries the server of this host.
fn check_here(options: &LinkOptions, places: &Places, hello: &Hello) -> LinkFinding {
    let mut local = LocalSession::new(places.clone(), hello.clone(), options.host.clone());
    let done = local.ask(&Request::Link(LinkRequest::Imports { skip: 0 }));
    local.quit();
    match done {
        Ok(_) => {
            let text = format!("the server of this host admits a link as {}", options.host);
            finding(Verdict::Good, text)
        }
        Err(LocalError::Refused(refusal)) if refusal.code == RefusalCode::Failed => {
            // Another link may run while this one is checked.
            finding(Verdict::Warning, refusal.text)
        }
        Err(LocalError::Refused(refusal)) => finding(Verdict::Problem, refusal.text),
        Err(e @ LocalError::Lost(_)) => finding(Verdict::Problem, e.to_string()),
    }
}

fn subjects(options: &LinkOptions) -> CheckSubjects {
    let host = &options.host;
    let own = options.streams.iter().map(|stream| subject::of_stream(stream, host));
    // A name that no host should have.
    let other = crate::chat::names::HostName::new("moot-check-other").ok();
    let room = RoomName::new("moot-check").ok().map(LinkedStream::Room);
    let foreign = room.zip(other).map(|(room, other)| subject::of_stream(&room, &other));
    CheckSubjects {
        own: own.collect(),
        foreign: foreign.into_iter().collect(),
        presence: subject::of_presence(host),
        presence_all: subject::PRESENCE.to_owned(),
    }
}

fn finding(verdict: Verdict, text: String) -> LinkFinding {
    LinkFinding { verdict, text }
}
