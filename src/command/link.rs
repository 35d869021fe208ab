//! `moot link`: carries rooms between hosts until it is ended.

use std::{
    fs,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    args::LinkArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    interrupt, link_metrics,
};
use crate::{
    chat::{
        linked::LinkedStream,
        member::Kind,
        names::{HostName, Label},
        text::shown,
    },
    link::{
        self, CarrierSettings, Credentials, LinkFailure, LinkOptions, LinkReport, StreamLimits,
        Verdict,
    },
    os,
    wire::hello::Hello,
};

/// Reports that wait to be printed.
const REPORTS_MAX: usize = 256;
/// Interval at which the file of counters is written.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// Maximum bytes of a password file.
const PASSWORD_BYTES_MAX: usize = 4096;

pub(super) fn run(context: &mut Context, args: &LinkArgs) -> Result<Exit, Failure> {
    let options = options(args)?;
    let hello = hello(context)?;
    if args.check {
        return check(context, &options, &hello);
    }
    if options.streams.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "name what to carry: --rooms ROOM,… or --announcements",
        ));
    }
    // A user server is started; a system server is waited for.
    let places = context.places()?;
    if !places.host {
        drop(context.connect_or_start()?);
    }
    let interrupted = interrupt::catch()?;
    let (end, ends) = crossbeam_channel::bounded(1);
    let (to_log, reports) = crossbeam_channel::bounded(REPORTS_MAX);
    let waiter = std::thread::Builder::new().name("moot-signals".to_owned()).spawn(move || {
        let leave = interrupted.recv();
        drop(end);
        leave
    });
    waiter.map_err(|e| Failure::new(Exit::Failed, format!("can't start a thread: {e}")))?;
    let mut written_at: Option<Instant> = None;
    let out = &context.out;
    let mut failed = None;
    let done = link::run(&options, &places, &hello, to_log, &ends, &mut |counts| {
        for report in reports.try_iter() {
            match report {
                LinkReport::Linked => out.note(&linked(&options)),
                LinkReport::Note(text) => out.note(&text),
                LinkReport::Warning(text) => out.warn(&text),
            }
        }
        let is_due = written_at.is_none_or(|at| at.elapsed() >= METRICS_EVERY);
        if let Some(path) = args.metrics.as_deref().filter(|_| is_due) {
            written_at = Some(Instant::now());
            let text = link_metrics::text(&options.host, counts);
            failed = replace(path, &text).err().map(|e| format!("{}: {e}", path.display()));
        }
    });
    for report in reports.try_iter() {
        if let LinkReport::Warning(text) = report {
            out.warn(&text);
        }
    }
    if let Some(why) = failed {
        out.warn(&format!("can't write the counters: {why}"));
    }
    match done {
        Ok(()) => Ok(Exit::Interrupted),
        Err(LinkFailure::Ended(why)) => Err(Failure::new(Exit::Usage, why)),
        Err(e) => Err(Failure::new(Exit::Failed, e.to_string())),
    }
}

fn linked(options: &LinkOptions) -> String {
    let names = options.streams.iter().map(|stream| match stream {
        LinkedStream::Room(room) => room.to_string(),
        LinkedStream::Announcements => "announcements".to_owned(),
    });
    let names: Vec<_> = names.collect();
    format!("linked as {}: {}", options.host, names.join(", "))
}

fn check(context: &mut Context, options: &LinkOptions, hello: &Hello) -> Result<Exit, Failure> {
    let places = context.places()?;
    let findings = link::check(options, &places, hello)
        .map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    let mut exit = Exit::Done;
    for finding in findings {
        // Some texts are those of the NATS server: none begins a line of its own.
        let text = shown(&finding.text, false);
        let word = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => {
                exit = Exit::Failed;
                "problem"
            }
        };
        match context.global.json {
            true => context
                .out
                .json(&serde_json::json!({"type": "check", "state": word, "text": finding.text}))?,
            false => context.out.line(&format!("{word:<8} {text}"))?,
        }
    }
    Ok(exit)
}

/// The handshake: a service, with the label `link` unless `--as` gives another one.
fn hello(context: &Context) -> Result<Hello, Failure> {
    let mut hello = context.hello(Kind::Service)?;
    hello.label = hello.label.or_else(|| Label::new("link").ok());
    Ok(hello)
}

fn options(args: &LinkArgs) -> Result<LinkOptions, Failure> {
    let host = match &args.host {
        Some(host) => host.clone(),
        None => own_host()?,
    };
    let mut carrier = CarrierSettings::new(&args.url, host.as_str());
    carrier.credentials = credentials(args)?;
    carrier.ca_file.clone_from(&args.tls_ca);
    carrier.stream.clone_from(&args.stream);
    let mut limits = StreamLimits::default();
    if let Some(max_age) = args.max_age {
        limits.max_age = max_age.into();
    }
    if let Some(mib) = args.max_mib {
        limits.max_bytes = mib << 20;
    }
    let mut streams: Vec<LinkedStream> = Vec::new();
    for room in &args.rooms {
        let stream = LinkedStream::Room(room.clone());
        if !streams.contains(&stream) {
            streams.push(stream);
        }
    }
    streams.extend(args.announcements.then_some(LinkedStream::Announcements));
    Ok(LinkOptions { carrier, limits, host, streams, create: args.create })
}

/// The name of this machine, up to the first dot.
fn own_host() -> Result<HostName, Failure> {
    let name = os::machine_name();
    let short = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    HostName::new(&short).map_err(|e| {
        let text =
            format!("the name of this machine ({short:?}) can't be used: {e}; use --host NAME");
        Failure::new(Exit::Usage, text)
    })
}

fn credentials(args: &LinkArgs) -> Result<Credentials, Failure> {
    if let Some(path) = &args.creds {
        return Ok(Credentials::File(path.clone()));
    }
    let (Some(user), Some(path)) = (&args.user, &args.password_file) else {
        return Ok(Credentials::None);
    };
    let failed = |why: String| {
        Failure::new(Exit::Failed, format!("can't read the password ({}): {why}", path.display()))
    };
    let file = fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut text = String::new();
    // A line end is not a part of it.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    file.take(most).read_to_string(&mut text).map_err(|e| failed(e.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains('\n') {
        return Err(failed("one line with the password is expected".to_owned()));
    }
    Ok(Credentials::Password { user: user.clone(), password })
}

/// Replaces a file whole: a collector never reads a part of it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}
