//! `moot join` in line mode: what is typed goes to the first room, what is said is printed.

use std::{
    collections::HashMap,
    io::{BufRead, IsTerminal, Read},
    thread,
    time::{Duration, Instant},
};

use super::{
    args::{JoinArgs, Somebody, check_will},
    connect::Context,
    exit::{Exit, Failure},
    interrupt::{self, Leave},
    json,
    output::Output,
    render,
};
use crate::{
    chat::{
        member::{Kind, Level},
        message::NoticeId,
        names::{RoomName, Target},
        rules::Role,
        text::{Text, TextError},
        verbs::{Announce, Begin, Follow, Refusal, Reply, Request, RoomInfo},
    },
    client::{Address, Event, Follows, Mailbox, Member, Postbox, Wake},
    limits::{TEXT_BYTES_MAX, UNACKED_SUBMITS_MAX},
};

/// Bytes said and not acknowledged above which input waits: less than a socket takes, so that a server
/// that hangs never keeps this process from its time limit.
const UNACKED_BYTES_MAX: usize = 64 * 1024;
/// After the end of the input: how long to wait for what was said to be shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// Lines that the reading thread may be ahead.
const LINES_AHEAD: usize = 16;

const HELP: &str = "\
/help               this
/join ROOM          listen to one more room and talk there
/part [ROOM]        leave a room
/msg @USER TEXT     say something to one user
/who                who is in the room
/rooms              all rooms
/topic TEXT         set the room's topic
/away [TEXT] /back  say that you are away, or back
/announce TEXT      tell everybody
/ack [ID]           say that you have seen an announcement; without ID, the last one that asked
/invite @USER       let somebody into the room, or tell him of it
/kick @USER         take somebody out of the room; /ban and /unban, for good
/mute @USER         let somebody say nothing more there; /unmute ends it
/op @USER           make somebody an operator of the room; /deop ends it
/quit               leave
//TEXT              says /TEXT";

/// What the threads that read input and signals hand over.
enum Input {
    Line(Result<String, TextError>),
    End,
    Leave(Leave),
}

pub(super) fn run(context: &mut Context, args: &JoinArgs) -> Result<Exit, Failure> {
    let interrupted = interrupt::catch()?;
    interrupt::watch_reader();
    let rooms = match args.rooms.as_slice() {
        [] => vec![RoomName::new("lobby").expect("a good name")],
        rooms => rooms.to_vec(),
    };
    check_will(args.will.as_ref(), rooms.len())?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let kind = args.kind.map_or(if terminal { Kind::Person } else { Kind::Script }, Kind::from);
    let (connection, places) = context.connect_or_start()?;
    let streams = rooms.iter().cloned().map(Follow::Room);
    let follows = Follows {
        follow: streams.chain([Follow::AllDirect, Follow::Announcements]).collect(),
        begin: Begin::Last(args.last),
        begin_of: Vec::new(),
        membership: true,
        keep: true,
        will: args.will.clone(),
    };
    let deadline = Some(context.deadline());
    let member = Member::join(connection, places, context.hello(kind)?, follows, deadline)?;
    let failed = |e| Failure::new(Exit::Failed, format!("can't wait for input: {e}"));
    let (to_loop, inputs) = Mailbox::new(LINES_AHEAD).map_err(failed)?;
    interrupt::forward(interrupted, to_loop.clone(), Input::Leave)?;
    if !args.read_only {
        read_lines(to_loop)?;
    }
    let until = context.global.timeout.map(|t| Instant::now() + Duration::from(t));
    let current = rooms.first().cloned();
    let mut chat = Chat {
        member,
        rooms,
        current,
        to_ack: None,
        asked: HashMap::new(),
        ended: false,
        quits: false,
        leave_by: None,
        exit: Exit::Done,
    };
    chat.run(context, &inputs, until)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    // They end with the process: one waits for input that may never come.
    spawned.map(drop).map_err(|e| Failure::new(Exit::Failed, format!("can't start a thread: {e}")))
}

fn read_lines(to: Postbox<Input>) -> Result<(), Failure> {
    spawn("moot-input", move || {
        let mut input = std::io::stdin().lock();
        loop {
            let line = match read_line(&mut input) {
                Ok(Some(bytes)) => Text::from_bytes(&bytes).map(|text| text.as_str().to_owned()),
                Ok(None) | Err(_) => {
                    to.send(Input::End);
                    return;
                }
            };
            if !to.send(Input::Line(line)) {
                return;
            }
        }
    })
}

/// A line without its end, cut where no text can be longer; none at the end of the input.
fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = input.take(TEXT_BYTES_MAX as u64 + 2).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() > TEXT_BYTES_MAX {
        skip_line(input)?;
    }
    Ok(Some(bytes))
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let here = input.fill_buf()?;
        if here.is_empty() {
            return Ok(());
        }
        let end = here.iter().position(|b| *b == b'\n');
        let skip = end.map_or(here.len(), |at| at + 1);
        input.consume(skip);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// What an answer from the server is for.
enum Asked {
    Nothing,
    Rooms(Vec<RoomInfo>),
    Open(Target, String),
}

struct Chat {
    member: Member,
    rooms: Vec<RoomName>,
    /// Where lines go.
    current: Option<RoomName>,
    /// The last announcement that asked to be acknowledged.
    to_ack: Option<NoticeId>,
    asked: HashMap<u32, Asked>,
    /// The input has ended: leave once everything said stands.
    ended: bool,
    /// By /quit.
    quits: bool,
    /// Until when to wait for what is still to be shown.
    leave_by: Option<Instant>,
    exit: Exit,
}

impl Chat {
    fn run(
        &mut self,
        context: &mut Context,
        inputs: &Mailbox<Input>,
        until: Option<Instant>,
    ) -> Result<Exit, Failure> {
        loop {
            if self.ended && self.may_leave(context) {
                return self.leave(context, self.exit);
            }
            // Input waits while too much of it is on its way.
            let full = self.member.unacked() >= UNACKED_SUBMITS_MAX / 2
                || self.member.unacked_bytes() >= UNACKED_BYTES_MAX;
            let inputs = (!full).then_some(inputs);
            let until = [until, self.leave_by].into_iter().flatten().min();
            match self.member.wait(inputs, until) {
                Wake::Event(event) => self.show(context, &event)?,
                Wake::Sent(_) => {}
                Wake::Refused(refusal) => self.refused(context, &refusal),
                Wake::NotFollowed(follow, refusal) => self.not_followed(context, &follow, &refusal),
                Wake::Ended(e) => return Err(e.into()),
                Wake::Reply(serial, result) => self.answered(context, serial, result)?,
                Wake::Extra(Some(Input::Line(_))) if self.ended => {}
                Wake::Extra(Some(Input::Line(Ok(line)))) => self.take_line(context, line)?,
                Wake::Extra(Some(Input::Line(Err(TextError::Empty)))) => {}
                Wake::Extra(Some(Input::Line(Err(e)))) => {
                    self.exit = Exit::Usage;
                    context.out.warn(&e.to_string());
                }
                Wake::Extra(Some(Input::Leave(why))) => return self.leave(context, why.exit()),
                Wake::Extra(Some(Input::End) | None) => self.ended = true,
                Wake::TimedOut if self.leave_by.is_some_and(|at| at <= Instant::now()) => {
                    return self.leave(context, self.exit);
                }
                Wake::TimedOut => return self.leave(context, Exit::TimedOut),
            }
            if self.member.is_quiet() {
                context.out.flush()?;
            }
        }
    }

    /// After the end of the input: once all that was said stands and was shown; what can't be said
    /// because there is no server is waited for, unless somebody typed /quit.
    fn may_leave(&mut self, context: &mut Context) -> bool {
        let open = self.member.unacked() > 0 || !self.asked.is_empty();
        if self.quits && open && !self.member.is_connected() {
            self.exit = Exit::NoServer;
            context.out.warn(&format!("{} messages were not sent", self.member.unacked()));
            return true;
        }
        // The time for showing begins when everything stands.
        if open {
            self.leave_by = None;
        } else {
            self.leave_by.get_or_insert_with(|| Instant::now() + SHOWN_WITHIN);
        }
        !open && (self.quits || self.member.has_shown_all())
    }

    fn not_followed(&mut self, context: &mut Context, follow: &Follow, refusal: &Refusal) {
        self.refused(context, refusal);
        if let Follow::Room(room) = follow {
            self.forget(room);
        }
    }

    fn leave(&mut self, context: &mut Context, exit: Exit) -> Result<Exit, Failure> {
        context.out.flush()?;
        self.member.say_good_bye();
        Ok(exit)
    }

    fn show(&mut self, context: &mut Context, event: &Event) -> Result<(), Failure> {
        let aside = matches!(event, Event::Ready { .. } | Event::End { .. } | Event::Slowed);
        if !context.global.json && aside {
            context.out.note(&render::event(event, &Output::note_style(true)));
            return Ok(());
        }
        context.out.event(event, self.rooms.len() > 1)?;
        if let Event::Message(message) = event
            && message.notice.as_ref().is_some_and(|notice| notice.ack)
        {
            self.to_ack = Some(NoticeId::Number(message.id.seq));
        }
        if let Event::Removed { room, .. } | Event::Deleted { room } = event {
            self.forget(room);
        }
        Ok(())
    }

    /// It is in that room no more.
    fn forget(&mut self, room: &RoomName) {
        self.rooms.retain(|r| r != room);
        if self.current.as_ref() == Some(room) {
            self.current = self.rooms.first().cloned();
        }
    }

    fn refused(&mut self, context: &mut Context, refusal: &Refusal) {
        self.exit = Failure::from(refusal.clone()).exit;
        Output::error(&Failure::from(refusal.clone()), context.global.json);
    }

    fn answered(
        &mut self,
        context: &mut Context,
        serial: u32,
        result: Result<Reply, Refusal>,
    ) -> Result<(), Failure> {
        let asked = self.asked.remove(&serial).unwrap_or(Asked::Nothing);
        match (result, asked) {
            (Err(refusal), _) => self.refused(context, &refusal),
            (Ok(Reply::Rooms { rooms: page, more }), Asked::Rooms(mut rooms)) => {
                rooms.extend(page);
                if more {
                    let skip = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
                    self.ask(&Request::Rooms { skip }, Asked::Rooms(rooms));
                    return Ok(());
                }
                if !context.global.json {
                    let rooms: Vec<_> = rooms.iter().map(|room| (room, 0)).collect();
                    return context.out.lines(&render::rooms(&rooms));
                }
                for room in &rooms {
                    context.out.json(&json::room(room, 0))?;
                }
            }
            (Ok(Reply::Opened(info)), Asked::Open(Target::User { user, label }, text)) => {
                let to = Address::Direct { stream: info.tag, with: user, label };
                self.member.say(to, None, text);
            }
            (Ok(Reply::Announced { members, .. }), _) => {
                let s = if members == 1 { "" } else { "s" };
                context.out.note(&format!("announced to {members} member{s}"));
            }
            (Ok(_), _) => {}
        }
        Ok(())
    }

    fn take_line(&mut self, context: &mut Context, line: String) -> Result<(), Failure> {
        if let Some(text) = line.strip_prefix("//") {
            self.say(context, format!("/{text}"));
        } else if let Some(command) = line.strip_prefix('/') {
            return self.command(context, command);
        } else {
            self.say(context, line);
        }
        Ok(())
    }

    fn say(&mut self, context: &mut Context, text: String) {
        match &self.current {
            Some(room) => {
                self.member.say(Address::Room(room.clone()), None, text);
            }
            None => context.out.warn("you are in no room; /join one"),
        }
    }

    fn command(&mut self, context: &mut Context, line: &str) -> Result<(), Failure> {
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let outcome = match verb {
            "help" => {
                context.out.note(HELP);
                Ok(())
            }
            "quit" => {
                self.quits = true;
                self.ended = true;
                Ok(())
            }
            "join" => self.join(rest),
            "part" => self.part(rest),
            "msg" => self.message(rest),
            "who" => self.who(context, rest),
            "rooms" => {
                self.ask(&Request::Rooms { skip: 0 }, Asked::Rooms(Vec::new()));
                Ok(())
            }
            "topic" => self.topic(rest),
            "away" => {
                let text = if rest.is_empty() { "away" } else { rest }.to_owned();
                let label = context.global.label.clone();
                self.ask(&Request::Away { label, text }, Asked::Nothing);
                Ok(())
            }
            "back" => {
                let label = context.global.label.clone();
                self.ask(&Request::Back { label }, Asked::Nothing);
                Ok(())
            }
            "announce" => self.announce(rest),
            "ack" => self.ack(rest),
            "invite" => self.rule(rest, Role::Invited, true),
            "kick" => self.kick(rest),
            "ban" => self.rule(rest, Role::Banned, true),
            "unban" => self.rule(rest, Role::Banned, false),
            "mute" => self.rule(rest, Role::Muted, true),
            "unmute" => self.rule(rest, Role::Muted, false),
            "op" => self.rule(rest, Role::Operator, true),
            "deop" => self.rule(rest, Role::Operator, false),
            _ => Err(format!("there is no /{verb}; /help lists what there is, //text says /text")),
        };
        if let Err(text) = outcome {
            context.out.warn(&text);
        }
        Ok(())
    }

    fn ask(&mut self, request: &Request, what: Asked) {
        let serial = self.member.ask(request);
        self.asked.insert(serial, what);
    }

    fn join(&mut self, room: &str) -> Result<(), String> {
        let room = RoomName::new(room).map_err(|e| e.to_string())?;
        if !self.rooms.contains(&room) {
            self.rooms.push(room.clone());
            self.member.follow(Follow::Room(room.clone()));
        }
        self.current = Some(room);
        Ok(())
    }

    fn part(&mut self, room: &str) -> Result<(), String> {
        let room = match (room, &self.current) {
            ("", Some(current)) => current.clone(),
            ("", None) => return Err("you are in no room".to_owned()),
            (room, _) => RoomName::new(room).map_err(|e| e.to_string())?,
        };
        if !self.member.part(&room, true) {
            return Err(format!("you are not in {room}"));
        }
        self.forget(&room);
        Ok(())
    }

    fn message(&mut self, rest: &str) -> Result<(), String> {
        let (to, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let to = if to.starts_with('@') { to.to_owned() } else { format!("@{to}") };
        let target: Target = to.parse().map_err(|e| format!("{to}: {e}"))?;
        let text = text.trim_start();
        Text::check(text).map_err(|e| e.to_string())?;
        let open = Request::Open { target: target.clone() };
        self.ask(&open, Asked::Open(target, text.to_owned()));
        Ok(())
    }

    fn topic(&mut self, text: &str) -> Result<(), String> {
        let room = self.current.clone().ok_or("you are in no room")?;
        self.ask(&Request::Topic { room, topic: text.to_owned() }, Asked::Nothing);
        Ok(())
    }

    /// Without an id: the last one that asked for it.
    fn ack(&mut self, id: &str) -> Result<(), String> {
        let id = match id {
            "" => self.to_ack.ok_or("nothing was announced that asks to be acknowledged")?,
            id => id.parse().map_err(|e| format!("{id:?}: {e}"))?,
        };
        self.ask(&Request::AckNotice { id }, Asked::Nothing);
        Ok(())
    }

    /// A rule about a user in the room where one talks.
    fn rule(&mut self, user: &str, role: Role, on: bool) -> Result<(), String> {
        let room = self.current.clone().ok_or("you are in no room")?;
        let user = somebody(user)?.user;
        self.ask(&Request::Role { room, user, role, on }, Asked::Nothing);
        Ok(())
    }

    fn kick(&mut self, user: &str) -> Result<(), String> {
        let room = self.current.clone().ok_or("you are in no room")?;
        let Somebody { user, label } = somebody(user)?;
        self.ask(&Request::KickFromRoom { room, user, label }, Asked::Nothing);
        Ok(())
    }

    fn announce(&mut self, text: &str) -> Result<(), String> {
        let text = Text::new(text).map_err(|e| e.to_string())?;
        let request = Request::Announce(Announce::new(Level::Notice, text));
        self.ask(&request, Asked::Nothing);
        Ok(())
    }

    fn who(&mut self, context: &mut Context, room: &str) -> Result<(), String> {
        let room = match room {
            "" => self.current.clone(),
            room => Some(RoomName::new(room).map_err(|e| e.to_string())?),
        };
        super::who::in_chat(context, room.as_ref()).map_err(|e| e.text)
    }
}

fn somebody(written: &str) -> Result<Somebody, String> {
    let written = if written.starts_with('@') { written.to_owned() } else { format!("@{written}") };
    written.parse().map_err(|e| format!("{written}: {e}"))
}
