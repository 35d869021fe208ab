//! `moot join`: on a terminal the screen; else line mode, where what is typed goes to the first
//! room and what is said is printed.

use std::{
    collections::HashMap,
    io::{BufRead, IsTerminal, Read},
    thread,
    time::{Duration, Instant},
};

use super::{
    args::{JoinArgs, check_will},
    connect::Context,
    exit_code::{Exit, Failure},
    input,
    interrupt::{self, Leave},
    output::Output,
    rooms, screen, who,
};
use crate::{
    chat::{
        member::Kind,
        names::{RoomName, Target},
        refusal::Refusal,
        reply::Reply,
        request::{Begin, Follow, Request},
        text::{Text, TextError, counted},
    },
    client::{Event, Follows, Member, Wake, WakeReceiver, WakeSender},
    limits::{TEXT_BYTES_MAX, UNACKED_SUBMITS_MAX},
    tui::{
        sentences,
        slash::{self, CommandPlace, CommandPurpose, Explained, Line, Slash},
    },
};

/// Bytes said and not acknowledged above which input waits: less than a socket takes, so that a
/// server that hangs never keeps this process from its time limit.
const UNACKED_BYTES_MAX: usize = 64 * 1024;
/// After the end of the input: how long to wait for what was said to be shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// Lines that the reading thread may be ahead.
const LINES_AHEAD: usize = 16;

/// Input from the threads that read lines and signals.
enum JoinInput {
    Typed(Result<Text, TextError>),
    End,
    Leave(Leave),
}

pub(super) fn run(context: &mut Context, args: &JoinArgs) -> Result<Exit, Failure> {
    let settings = match screen::is_possible(context) {
        true => Some(screen::settings(args)?),
        false => None,
    };
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
    let member = Member::join(connection, places.clone(), context.hello(kind)?, follows, deadline)?;
    if let Some(settings) = settings {
        return screen::run(context, args, settings, rooms, (member, places), interrupted);
    }
    let failed = |e| Failure::new(Exit::Failed, format!("can't wait for input: {e}"));
    let (to_loop, inputs) = WakeReceiver::new(LINES_AHEAD).map_err(failed)?;
    interrupt::forward(interrupted, to_loop.clone(), JoinInput::Leave)?;
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

fn read_lines(to: WakeSender<JoinInput>) -> Result<(), Failure> {
    spawn("moot-input", move || {
        let mut stdin = std::io::stdin().lock();
        let mut is_first = true;
        loop {
            let line = match read_line(&mut stdin) {
                Ok(Some((bytes, rest))) => {
                    let is_begin = std::mem::take(&mut is_first);
                    let line = if is_begin { input::without_mark(&bytes) } else { &bytes };
                    match rest {
                        0 => Text::from_bytes(line),
                        rest => Err(TextError::TooLong { bytes: line.len() + rest }),
                    }
                }
                Ok(None) | Err(_) => {
                    to.send(JoinInput::End);
                    return;
                }
            };
            if !to.send(JoinInput::Typed(line)) {
                return;
            }
        }
    })
}

/// A line without its end, cut where no text can be longer, and the length of the rest; none at the
/// end of the input.
fn read_line(from: &mut impl BufRead) -> std::io::Result<Option<(Vec<u8>, usize)>> {
    let mut bytes = Vec::new();
    // With a mark and the line end of Windows.
    let read = from.take(TEXT_BYTES_MAX as u64 + 6).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    let is_cut = bytes.last() != Some(&b'\n') && bytes.len() > TEXT_BYTES_MAX;
    let rest = if is_cut { skip_line(from)? } else { 0 };
    bytes.truncate(input::without_line_end(&bytes).len());
    Ok(Some((bytes, rest)))
}

/// Passes over the rest of a line; its length.
fn skip_line(from: &mut impl BufRead) -> std::io::Result<usize> {
    let mut skipped = 0;
    loop {
        let here = from.fill_buf()?;
        if here.is_empty() {
            return Ok(skipped);
        }
        let end = here.iter().position(|b| *b == b'\n');
        let skip = end.map_or(here.len(), |at| at + 1);
        from.consume(skip);
        skipped += end.unwrap_or(skip);
        if end.is_some() {
            return Ok(skipped);
        }
    }
}

/// CommandPurpose of a request.
enum LineRequest {
    Command(CommandPurpose),
    /// Opens the conversation for a text.
    Open(Target, Text),
}

struct Chat {
    member: Member,
    rooms: Vec<RoomName>,
    /// Room that lines go to.
    current: Option<RoomName>,
    /// Number of the last announcement that waits for acknowledgment.
    to_ack: Option<u64>,
    asked: HashMap<u32, LineRequest>,
    /// The input has ended: leave once all messages are acknowledged.
    ended: bool,
    /// The user typed /quit.
    quits: bool,
    /// Until when to wait for what is still to be shown.
    leave_by: Option<Instant>,
    exit: Exit,
}

impl Chat {
    fn run(
        &mut self,
        context: &mut Context,
        inputs: &WakeReceiver<JoinInput>,
        until: Option<Instant>,
    ) -> Result<Exit, Failure> {
        loop {
            if self.ended && self.may_leave(context) {
                return self.leave(context, self.exit);
            }
            // Input waits while too much of it is on its way.
            let full = self.member.unacked() >= UNACKED_SUBMITS_MAX / 2
                || self.member.unacked_bytes() >= UNACKED_BYTES_MAX;
            inputs.hold(full);
            let until = [until, self.leave_by].into_iter().flatten().min();
            match self.member.wait(Some(inputs), until) {
                Wake::Event(Event::Rejected(refusal)) => self.refused(context, &refusal),
                Wake::Event(Event::NotFollowed(follow, refusal)) => {
                    self.not_followed(context, &follow, &refusal);
                }
                Wake::Event(Event::Ended(refused)) => return Err(refused.into()),
                Wake::Event(Event::Reply(serial, result)) => {
                    self.answered(context, serial, result)?;
                }
                Wake::Event(event) => self.show(context, &event)?,
                Wake::Item(Some(JoinInput::Typed(_))) if self.ended => {}
                Wake::Item(Some(JoinInput::Typed(Ok(line)))) => {
                    self.take_line(context, line.as_str())?;
                }
                Wake::Item(Some(JoinInput::Typed(Err(TextError::Empty)))) => {}
                Wake::Item(Some(JoinInput::Typed(Err(e)))) => {
                    self.exit = Exit::Usage;
                    context.out.warn(&e.to_string());
                }
                Wake::Item(Some(JoinInput::Leave(why))) => return self.leave(context, why.exit()),
                Wake::Item(Some(JoinInput::End) | None) => self.ended = true,
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

    /// After the end of the input: true once all messages are acknowledged and shown; messages that
    /// can't be sent without a server are waited for, unless the user typed /quit.
    fn may_leave(&mut self, context: &mut Context) -> bool {
        let open = self.member.unacked() > 0 || !self.asked.is_empty();
        if self.quits && open && !self.member.is_connected() {
            self.exit = Exit::NoServer;
            // Those that were submitted before the connection broke may be stored.
            let count = counted(self.member.unacked() as u64, "message");
            let text = format!("{count} may not have been sent");
            context.out.warn(&text);
            return true;
        }
        // The time for showing begins when everything is acknowledged.
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
            context.out.note_event(event, true);
            return Ok(());
        }
        context.out.event(event, self.rooms.len() > 1)?;
        if let Event::Message(message) = event
            && message.notice.as_ref().is_some_and(|notice| notice.ack)
        {
            self.to_ack = Some(message.id.seq);
        }
        if let Event::Removed { room, .. } | Event::Deleted { room } = event {
            self.forget(room);
        }
        Ok(())
    }

    /// Forgets a room that it is no longer in.
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
        match (self.asked.remove(&serial), result) {
            (_, Err(refusal)) => self.refused(context, &refusal),
            (Some(LineRequest::Command(purpose)), Ok(reply)) => {
                return self.command_done(context, slash::explain(purpose, reply));
            }
            (Some(LineRequest::Open(target, text)), Ok(Reply::Opened(_))) => {
                self.member.say(target, None, text);
            }
            // The member's own requests, as that to leave a room, are not in the list.
            (Some(LineRequest::Open(..)) | None, Ok(_)) => {}
        }
        Ok(())
    }

    /// Prints the result of a chat command.
    fn command_done(&mut self, context: &mut Context, explained: Explained) -> Result<(), Failure> {
        match explained {
            Explained::Quiet | Explained::Away(_) => {}
            Explained::Sentence(text) | Explained::Announced(text) => context.out.note(&text),
            Explained::Topic(room, topic) => {
                context.out.note(&sentences::new_topic(&room, &topic));
            }
            Explained::Rooms(list) => {
                let list: Vec<_> = list.iter().map(|room| (room, 0)).collect();
                return rooms::show(context, &list);
            }
            Explained::Members(room, members) => return who::show_members(context, &room, members),
            Explained::Acknowledged(number) => {
                self.to_ack.take_if(|open| *open == number);
            }
            Explained::More(request, purpose) => {
                self.ask(&request, LineRequest::Command(purpose));
            }
        }
        Ok(())
    }

    fn take_line(&mut self, context: &mut Context, line: &str) -> Result<(), Failure> {
        let outcome = match slash::parse_line_mode(line) {
            Ok(Line::Say(text)) => self.say(text),
            Ok(Line::Do(command)) => self.command(context, command),
            Err(e) => Err(e),
        };
        if let Err(text) = outcome {
            self.exit = Exit::Usage;
            context.out.warn(&text);
        }
        Ok(())
    }

    fn say(&mut self, text: String) -> Result<(), String> {
        let room = self.current.clone().ok_or(sentences::NO_ROOM)?;
        let text = Text::try_from(text).map_err(|e| e.to_string())?;
        self.member.say(Target::Room(room), None, text);
        Ok(())
    }

    fn command(&mut self, context: &mut Context, command: Slash) -> Result<(), String> {
        match command {
            Slash::Help(None) => context.out.note_lines(&slash::help(true)),
            Slash::Help(Some(info)) => context.out.note_lines(&slash::help_of(info)),
            Slash::Quit => {
                self.quits = true;
                self.ended = true;
            }
            Slash::Join(room) => self.join(room),
            Slash::Part(room) => self.part(room)?,
            Slash::Message { to, text: Some(text) } => self.message(to, text)?,
            Slash::Me(text) => self.say(text)?,
            Slash::Ask(command) => {
                let place = CommandPlace {
                    room: self.current.as_ref(),
                    label: context.global.label.as_ref(),
                    to_ack: self.to_ack,
                };
                let (request, purpose) = slash::plan(command, &place)?;
                self.ask(&request, LineRequest::Command(purpose));
            }
            Slash::Message { text: None, .. } | Slash::Reply { .. } | Slash::Screen(_) => {
                return Err(sentences::ON_SCREEN_ONLY.to_owned());
            }
        }
        Ok(())
    }

    fn ask(&mut self, request: &Request, purpose: LineRequest) {
        let serial = self.member.ask(request);
        self.asked.insert(serial, purpose);
    }

    fn join(&mut self, room: RoomName) {
        if !self.rooms.contains(&room) {
            self.rooms.push(room.clone());
            self.member.follow(Follow::Room(room.clone()));
        }
        self.current = Some(room);
    }

    fn part(&mut self, room: Option<RoomName>) -> Result<(), String> {
        let room = room.or_else(|| self.current.clone()).ok_or(sentences::NO_ROOM)?;
        if !self.member.part(&room, true) {
            return Err(format!("you are not in {room}"));
        }
        self.forget(&room);
        Ok(())
    }

    fn message(&mut self, target: Target, text: String) -> Result<(), String> {
        let text = Text::try_from(text).map_err(|e| e.to_string())?;
        let open = Request::Open { target: target.clone() };
        self.ask(&open, LineRequest::Open(target, text));
        Ok(())
    }
}
