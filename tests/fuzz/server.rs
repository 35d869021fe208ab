//! A real server among hostile users: any frames in any order over real sockets, beside a victim who gets everything.

use std::{
    env,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    panic,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use moot::{
    chat::{
        frames::{Destination, Report},
        names::UserName,
        request::{Request, SessionRequest},
    },
    config::Settings,
    os,
    server::{self, Log, Options, Stop},
    wire::{control, server_frame::ServerFrame},
};

use crate::{
    asks::{Known, Pick},
    mutate::Random,
    raw::{self, Raw, bytes_of, join, room},
    strangers::SECRET,
    tape::Tape,
    victim::Victim,
};

const OWNER: u32 = 2;
const VICTIM: u32 = 1;
const STRANGERS: [u32; 2] = [65_534, 70_001];
/// Sessions of each stranger.
const SESSIONS: usize = 6;
/// The private room.
const HIDDEN: &str = "hush-a";

/// Panics of threads of the server. A panic of a task ends that task alone.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        if thread::current().name().is_some_and(|name| name.starts_with("moot")) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        before(what);
    }));
}

#[test]
fn server_of_hostile_users_serves_the_others() {
    if env::var("MOOT_FUZZ_TARGET").is_ok_and(|only| only != "server") || os::own_uid() != 0 {
        return;
    }
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let asked = number("MOOT_FUZZ_SECONDS");
    // The normal run makes the same frames each time, a run on request others.
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let seed = number("MOOT_FUZZ_SEED").unwrap_or_else(|| asked.map_or(0, |_| now()));
    let time = Duration::from_secs(asked.unwrap_or(3));
    count_panics();
    let temp = tempfile::Builder::new().prefix("moot").tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).expect("its mode");
    let dir = temp.path().join("s");
    let stop = Stop::default();
    let ends = {
        let (dir, stop, log) = (dir.clone(), stop.clone(), temp.path().join("log"));
        let (ready, is_ready) = channel();
        let run = move || serve(&dir, &log, &stop, || ready.send(()).expect("the test waits"));
        let thread = thread::Builder::new().name("moot-server".to_owned()).spawn(run);
        is_ready.recv_timeout(raw::PATIENCE).expect("a server");
        thread.expect("a thread")
    };
    let (frames, outcome) = beside_strangers(&dir, seed, time);
    assert_eq!(
        outcome,
        Ok(()),
        "MOOT_FUZZ_TARGET=server MOOT_FUZZ_SEED={seed} after {frames} frames"
    );
    assert!(!ends.is_finished(), "the server ended");
    stop.stop();
    ends.join().expect("the server ends as it should");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "MOOT_FUZZ_TARGET=server MOOT_FUZZ_SEED={seed}");
    crate::report(format_args!("fuzz     server: {frames:>9} frames"));
}

fn serve(dir: &Path, log: &Path, stop: &Stop, ready: impl FnOnce()) {
    let choice = format!("{}/", dir.display());
    let places = os::resolve_own(Some(&choice), &os::Env::from_process(), true);
    let options = Options {
        places: places.expect("a place"),
        settings: Settings::default(),
        system: true,
        broadcast: true,
        history: true,
        idle_exit: None,
        manager: os::ServiceManager::default(),
        handed_over: None,
    };
    let log = Log::file(log).expect("a log");
    server::run(options, log, stop, |_| ready()).expect("a server that runs");
}

/// Runs strangers beside a victim; returns the number of their frames.
fn beside_strangers(dir: &Path, seed: u64, time: Duration) -> (u64, Result<(), String>) {
    let socket = dir.join("socket");
    let (_owner, known) = hide(&socket);
    let mut victim = Victim::new(dir, VICTIM);
    let (over, start) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        let strangers = scope.spawn(|| {
            let mut strangers = Strangers::new(&socket, known, seed);
            while !over.load(Ordering::Relaxed) {
                strangers.step();
            }
            strangers.frames
        });
        let mut outcome = Ok(());
        while outcome.is_ok() && start.elapsed() < time && !strangers.is_finished() {
            victim.begin();
            outcome = victim.round();
        }
        over.store(true, Ordering::Relaxed);
        let frames = strangers.join().expect("no stranger learns a secret");
        (frames, outcome.and_then(|()| victim.everything()))
    })
}

/// A private room with secrets, whose number and id strangers have guessed.
fn hide(socket: &Path) -> (Raw, Known) {
    let mut owner = Raw::open(socket, OWNER, None);
    let create =
        Request::CreateRoom { room: room(HIDDEN), history: true, private: true, read_only: false };
    owner.ask(&create);
    let info = owner.join(HIDDEN, true).expect("a room");
    owner.ask(&Request::Topic { room: room(HIDDEN), topic: SECRET.to_owned() });
    owner.submit_all(&Destination::Stream(info.tag), 1, SECRET, 20);
    owner.ask(&Request::Ask { counter: 1, again: false });
    let user = |uid| os::user_name(uid).unwrap_or_else(|| UserName::of_uid(uid));
    let mut known = Known {
        rooms: [HIDDEN, "quiet", "plaza", "board"].map(room).to_vec(),
        users: [OWNER, VICTIM, STRANGERS[0], STRANGERS[1], 80_000].map(user).to_vec(),
        ..Known::default()
    };
    known.tags.push(info.tag);
    known.room_ids.extend(info.room.map(|room| room.id));
    (owner, known)
}

/// Sessions of strangers, and what they know.
struct Strangers<'a> {
    socket: &'a Path,
    known: Known,
    random: Random,
    /// Each with bytes that its socket did not take yet, and the counter of its next submit.
    sessions: Vec<(Raw, Vec<u8>, u64)>,
    frames: u64,
}

impl<'a> Strangers<'a> {
    fn new(socket: &'a Path, known: Known, seed: u64) -> Self {
        let mut strangers =
            Self { socket, known, random: Random(seed), sessions: Vec::new(), frames: 0 };
        for uid in STRANGERS {
            for _ in 0..SESSIONS {
                strangers.sessions.push((Raw::open(socket, uid, None), Vec::new(), 1));
            }
        }
        strangers
    }

    fn step(&mut self) {
        let at = self.random.below(self.sessions.len());
        let bytes: Vec<u8> = (0..128).map(|_| self.random.below(256) as u8).collect();
        let mut tape = Tape::new(&bytes);
        let (session, out, counter) = &mut self.sessions[at];
        if out.is_empty() {
            *out = any_frame(&mut tape, &self.known, counter);
            self.frames += 1;
        }
        let written = session.push(out);
        out.drain(..written);
        for (kind, body) in session.take_frames() {
            let told = String::from_utf8_lossy(&body);
            assert!(!told.contains(SECRET), "a stranger receives {told}");
            if let Ok(ServerFrame::Session(frame)) = ServerFrame::read(kind, &body) {
                self.known.learn(&frame);
            }
        }
        if !session.alive {
            let uid = STRANGERS[at % STRANGERS.len()];
            self.sessions[at] = (Raw::open(self.socket, uid, None), Vec::new(), 1);
        }
    }
}

/// The bytes of a frame, or of something like one.
fn any_frame(tape: &mut Tape<'_>, known: &Known, counter: &mut u64) -> Vec<u8> {
    let tag = |tape: &mut Tape<'_>| known.tags[tape.below(known.tags.len())];
    match tape.byte() % 32 {
        0..=15 => {
            let request = Pick { tape, known }.request();
            raw::request(&request)
        }
        16..=23 => {
            let first = if tape.chance(6) { *counter } else { tape.number().max(1) };
            let submit = Pick { tape, known }.submit(first);
            *counter = first.saturating_add(submit.lines.len() as u64);
            bytes_of(|to| control::put_submit(to, &submit))
        }
        24 | 25 => {
            let stream = tag(tape);
            let (delivered, by_broadcast, datagrams) =
                (tape.number(), tape.number(), tape.number());
            let report = Report { stream, delivered, by_broadcast, datagrams };
            bytes_of(|to| control::put_report(to, &report))
        }
        26 | 27 => {
            let (tag, first, last) = (tag(tape), tape.number(), tape.number());
            bytes_of(|to| control::put_repair(to, tag, first, last))
        }
        28 => raw::request(&join("plaza", true)),
        29 => {
            // A frame that is not quite one.
            let mut bytes = raw::request(&Pick { tape, known }.request());
            let at = tape.below(bytes.len());
            bytes[at] ^= tape.byte();
            bytes
        }
        30 => {
            let mut bytes = raw::request(&Request::Session(SessionRequest::Active)).repeat(64);
            bytes.truncate(tape.below(bytes.len()).max(1));
            bytes
        }
        _ => tape.bytes(64).to_vec(),
    }
}
