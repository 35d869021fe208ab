//! `moot listen`: prints what is said.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    args::{ListenArgs, ListenTarget, Program, check_will},
    connect::Context,
    exec::{self, Job, Outcome, Runner},
    exit_code::{Exit, Failure},
    notify::Notifier,
    past,
    run::RunResult,
    time::{Meaning, When},
    who,
};
use crate::{
    chat::{
        member::{Kind, Level},
        message::{Message, StreamName},
        names::Target,
        refusal::RefusalCode,
        request::{Begin, Follow},
    },
    client::{Event, Follows, LinkError, Member, Wake, WakeReceiver},
    command::interrupt::{self, Leave},
    limits::PING_AFTER_MS,
    os::Places,
    session::Connection,
};

/// Interval at which a session from which nothing is read shows that its process lives.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_millis(PING_AFTER_MS / 2);

/// Input from the other threads.
enum ListenInput {
    Leave(Leave),
    Ended(Box<Outcome>),
}

pub(super) fn run(context: &mut Context, args: &ListenArgs) -> Result<Exit, Failure> {
    let rooms = args.targets.iter().filter(|t| matches!(t, ListenTarget::Room(_)));
    check_will(args.will.as_ref(), rooms.collect::<HashSet<_>>().len())?;
    let program = args.exec.program()?;
    let (connection, places) = context.connect_or_start()?;
    listen(context, args, program.as_ref(), (connection, places), None)
}

/// Listens; `awaited`: for one thing, whose last text it gets, and prints nothing else.
pub(super) fn listen(
    context: &mut Context,
    args: &ListenArgs,
    program: Option<&Program>,
    (connection, places): (Connection, Places),
    awaited: Option<&mut String>,
) -> Result<Exit, Failure> {
    args.from.as_ref().map_or(Ok(()), |user| who::check_known(context, user))?;
    let notifier = args.notify.then(Notifier::find).transpose()?;
    let interrupted = interrupt::catch()?;
    interrupt::watch_reader();
    let (to_loop, inputs) = WakeReceiver::new(args.exec.jobs() as usize + 1)
        .map_err(|e| Failure::new(Exit::Failed, format!("can't wait for input: {e}")))?;
    interrupt::forward(interrupted, to_loop.clone(), ListenInput::Leave)?;
    let runner = program.map(|program| {
        let work =
            exec::work(program, &context.environment(&places), false, &to_loop, ListenInput::Ended);
        Runner::new(program, args.exec.jobs(), work)
    });
    let begin_of = match &args.since {
        None => Vec::new(),
        Some(since) => begins(context, &args.targets, since)?,
    };
    let deadline = context.global.timeout.map(|t| Instant::now() + Duration::from(t));
    let mut member = join(context, args, (connection, places), begin_of, deadline)?;
    let idle = args.idle.map(Duration::from);
    let mut listener = ListenLoop {
        args,
        printed: 0,
        several: args.targets.len() > 1,
        rooms: only_rooms(args),
        notifier,
        runner,
        awaited,
        deadline,
        idle,
        idle_at: idle.map(|idle| Instant::now() + idle),
    };
    loop {
        if listener.has_enough() && listener.is_idle() {
            context.out.flush()?;
            member.quit();
            return Ok(Exit::Done);
        }
        let Some(wake) = listener.wait(&mut member, &inputs) else { continue };
        if let Some(exit) = listener.take(context, &mut member, wake)? {
            member.quit();
            return Ok(exit);
        }
    }
}

fn join(
    context: &Context,
    args: &ListenArgs,
    (connection, places): (Connection, Places),
    begin_of: Vec<(Follow, Begin)>,
    deadline: Option<Instant>,
) -> Result<Member, Failure> {
    let hello = context.hello(args.kind.map_or(Kind::Script, Kind::from))?;
    let follows = Follows {
        follow: follow(&args.targets),
        begin: args.last.map_or(Begin::Now, Begin::Last),
        begin_of,
        will: args.will.clone(),
        ..Follows::default()
    };
    let answer_by = deadline.unwrap_or_else(|| context.deadline());
    let mut member = Member::join(connection, places, hello, follows, Some(answer_by))?;
    member.set_reconnects(!args.no_reconnect);
    Ok(member)
}

/// Returns the number of rooms if it listens to nothing else: it has nothing left when the last
/// one is closed to it.
fn only_rooms(args: &ListenArgs) -> Option<usize> {
    let targets: HashSet<_> = args.targets.iter().collect();
    let are_rooms = targets.iter().all(|target| matches!(target, ListenTarget::Room(_)));
    (!args.announcements && are_rooms).then_some(targets.len())
}

/// Returns the event, or the failure if nothing more is received after it.
fn unless_failed(event: Event) -> Result<Event, Failure> {
    match event {
        Event::Rejected(refusal) | Event::NotFollowed(_, refusal) => Err(refusal.into()),
        Event::Ended(refused) => Err(refused.into()),
        event => Ok(event),
    }
}

fn follow(targets: &[ListenTarget]) -> Vec<Follow> {
    let streams = targets.iter().map(|target| match target {
        ListenTarget::Room(room) => Follow::Room(room.clone()),
        ListenTarget::With(user) => Follow::With(user.clone()),
        ListenTarget::ToMe => Follow::ToMe,
    });
    // Who listens is a member, and members get announcements.
    let mut follows: Vec<Follow> = Vec::new();
    for follow in streams.chain([Follow::Announcements]) {
        if !follows.contains(&follow) {
            follows.push(follow);
        }
    }
    follows
}

/// Returns the beginning in each stream, so that exactly the messages since then come.
fn begins(
    context: &Context,
    targets: &[ListenTarget],
    since: &When,
) -> Result<Vec<(Follow, Begin)>, Failure> {
    let mut link = context.link()?;
    let mut begins = Vec::new();
    let named: Vec<_> = targets
        .iter()
        .filter_map(|target| match target {
            ListenTarget::Room(room) => Some(StreamName::Room(room.clone())),
            ListenTarget::With(user) => Some(StreamName::Direct(user.clone())),
            ListenTarget::ToMe => None,
        })
        .collect();
    let since = since.among(&named)?;
    for target in targets {
        let (target, follow) = match target {
            ListenTarget::Room(room) => (Target::Room(room.clone()), Follow::Room(room.clone())),
            ListenTarget::With(user) => {
                (Target::User { user: user.clone(), label: None }, Follow::With(user.clone()))
            }
            ListenTarget::ToMe => {
                let text = "--since needs a room or @USER; `moot read` shows messages to you";
                return Err(Failure::new(Exit::Usage, text));
            }
        };
        // An id is of one of them; the others begin now.
        if matches!(since, Meaning::After(id) if id.stream != StreamName::from(&target)) {
            continue;
        }
        let span = match link.span(&target) {
            Ok(span) => span,
            // What is not there yet has no past.
            Err(LinkError::Refusal(refusal)) if refusal.code == RefusalCode::Absent => continue,
            Err(e) => return Err(e.into()),
        };
        // A number of a run that is over is answered with a gap.
        let this_run = link.welcome()?.run;
        let begin = match since {
            Meaning::After(id) if !span.stored => {
                Begin::After { run: id.run.unwrap_or(this_run), seq: id.seq }
            }
            since => {
                let seq = past::after(&mut link, &target, &span, since)?;
                Begin::After { run: this_run, seq }
            }
        };
        begins.push((follow, begin));
    }
    link.quit();
    if let (Meaning::After(id), []) = (since, begins.as_slice()) {
        return Err(Failure::new(
            Exit::Absent,
            format!("message {id} is not in the listed rooms and conversations"),
        ));
    }
    Ok(begins)
}

struct ListenLoop<'a> {
    args: &'a ListenArgs,
    printed: u64,
    several: bool,
    /// Rooms that are left, if it listens to nothing else.
    rooms: Option<usize>,
    notifier: Option<Notifier>,
    runner: Option<Runner>,
    /// Last text that it waited for; it prints nothing else.
    awaited: Option<&'a mut String>,
    deadline: Option<Instant>,
    /// Time without messages after which it ends.
    idle: Option<Duration>,
    idle_at: Option<Instant>,
}

impl ListenLoop<'_> {
    fn has_enough(&self) -> bool {
        self.args.count.is_some_and(|count| self.printed >= count)
    }

    /// Waits for something to take; none if it was time for a sign of life.
    fn wait(
        &self,
        member: &mut Member,
        inputs: &WakeReceiver<ListenInput>,
    ) -> Option<Wake<ListenInput>> {
        let until = [self.deadline, self.idle_at].into_iter().flatten().min();
        if !self.has_enough() && !self.is_full() {
            return Some(member.wait(Some(inputs), until));
        }
        // What the program can't keep up with is not read: the server keeps it.
        let look = Instant::now() + SIGN_OF_LIFE_EVERY;
        let waited = inputs.recv_until(Some(until.map_or(look, |until| until.min(look))));
        if waited.is_err() && until.is_none_or(|until| until > look) {
            member.say_alive();
            return None;
        }
        Some(waited.map_or(Wake::TimedOut, Wake::Item))
    }

    /// Takes what came. Returns an exit if that is the end.
    fn take(
        &mut self,
        context: &mut Context,
        member: &mut Member,
        wake: Wake<ListenInput>,
    ) -> Result<Option<Exit>, Failure> {
        Ok(match wake {
            Wake::Event(Event::NotFollowed(Follow::Room(_), refusal))
                if self.rooms.is_some_and(|n| n > 1) =>
            {
                self.rooms = self.rooms.map(|rooms| rooms - 1);
                context.out.warn(&refusal.text);
                None
            }
            Wake::Event(event) => {
                return self.take_event(context, member, &unless_failed(event)?);
            }
            Wake::Item(Some(ListenInput::Ended(outcome))) => {
                let has_failed = self.ended(context, &outcome);
                (has_failed && self.args.fail_fast).then_some(Exit::Failed)
            }
            Wake::Item(Some(ListenInput::Leave(why))) => Some(why.exit()),
            Wake::Item(None) => Some(Exit::Interrupted),
            Wake::TimedOut if self.deadline.is_some_and(|at| at <= Instant::now()) => {
                Some(Exit::TimedOut)
            }
            // It is not idle while the program works.
            Wake::TimedOut if !self.is_idle() => {
                self.idle_from_now();
                None
            }
            Wake::TimedOut if self.printed > 0 => Some(Exit::Done),
            Wake::TimedOut => Some(Exit::Failed),
        })
    }

    fn take_event(
        &mut self,
        context: &mut Context,
        member: &mut Member,
        event: &Event,
    ) -> Result<Option<Exit>, Failure> {
        let before = self.printed;
        self.show(context, event)?;
        if matches!(event, Event::Ready { .. }) {
            // Before any program of a backlog is run.
            context.out.flush()?;
        }
        if self.printed > before {
            if let (Some(text), Event::Message(message)) = (&mut self.awaited, event) {
                text.clone_from(&message.text);
            }
            self.idle_from_now();
            // Once it has enough, nothing more is taken.
            if self.has_enough() {
                return Ok(None);
            }
        }
        if matches!(event, Event::End { .. }) && self.args.no_reconnect {
            context.out.flush()?;
            // An operator's word, or just the end?
            let now = Some(Instant::now());
            if let Wake::Event(Event::Ended(refused)) = member.wait::<()>(None, now) {
                return Err(refused.into());
            }
            return Ok(Some(Exit::NoServer));
        }
        if self.rooms == Some(0) {
            return Err(Failure::new(Exit::Denied, "no room or conversation is left to listen to"));
        }
        if member.is_quiet() {
            context.out.flush()?;
        }
        Ok(None)
    }

    fn idle_from_now(&mut self) {
        self.idle_at = self.idle.map(|idle| Instant::now() + idle);
    }

    /// Returns true if the program of `--exec` has nothing to do.
    fn is_idle(&self) -> bool {
        self.runner.as_ref().is_none_or(|runner| runner.open() == 0)
    }

    /// Returns true if it has more to do than it should.
    fn is_full(&self) -> bool {
        self.runner.as_ref().is_some_and(Runner::is_full)
    }

    /// Handles the end of the program for a message; true if it failed, which is reported.
    fn ended(&mut self, context: &Context, outcome: &Outcome) -> bool {
        let Some(runner) = &mut self.runner else { return false };
        runner.ended();
        let Some(why) = outcome.failure() else { return false };
        context.out.warn(&format!("{}: {why} ({})", runner.name(), outcome.message.id));
        true
    }

    fn show(&mut self, context: &mut Context, event: &Event) -> Result<(), Failure> {
        let closed = matches!(event, Event::Removed { .. } | Event::Deleted { .. });
        if let (true, Some(rooms)) = (closed, &mut self.rooms) {
            *rooms = rooms.saturating_sub(1);
        }
        match event {
            Event::Message(message) => self.show_message(context, message),
            event if self.awaited.is_some() => {
                context.out.aside(event, self.several);
                Ok(())
            }
            Event::End { reason } if !context.global.json && self.args.no_reconnect => {
                context.out.note(&format!("-- disconnected: {reason}"));
                Ok(())
            }
            Event::Ready { .. } | Event::End { .. } if !context.global.json => {
                // Notes for a person at a terminal are not results.
                context.out.note_event(event, self.several);
                Ok(())
            }
            Event::Gap { .. } if self.args.raw => {
                context.out.note_event(event, self.several);
                Ok(())
            }
            Event::Joined { .. }
            | Event::Left { .. }
            | Event::Topic { .. }
            | Event::Invited { .. }
            | Event::Offer { .. }
            | Event::Answered { .. }
            | Event::Abandoned { .. }
            | Event::Slowed
            | Event::Sent(_)
            | Event::Rejected(_)
            | Event::NotFollowed(..)
            | Event::Reply(..)
            | Event::Ended(_) => Ok(()),
            // It may be of one that was not shown.
            Event::Cancelled { .. } if self.is_choosing() => Ok(()),
            Event::Removed { .. } | Event::Cancelled { .. } if self.args.raw => {
                context.out.note_event(event, self.several);
                Ok(())
            }
            Event::Ready { .. }
            | Event::End { .. }
            | Event::Gap { .. }
            | Event::Removed { .. }
            | Event::Deleted { .. }
            | Event::Cancelled { .. } => context.out.event(event, self.several),
        }
    }

    fn show_message(&mut self, context: &mut Context, message: &Message) -> Result<(), Failure> {
        let announcement = message.notice.as_ref();
        let counts = announcement.is_some() == self.args.announcements;
        match announcement {
            // Only these; their texts and senders are chosen as those of other messages.
            Some(notice) if counts => {
                let level = self.args.level.map_or(Level::Info, Level::from);
                if notice.level < level || !self.wanted(message) {
                    return Ok(());
                }
            }
            // A program that is run for messages is not run for others.
            Some(_) if self.args.count.is_some() || self.args.raw || self.runner.is_some() => {
                return Ok(());
            }
            // What is chosen by its text or sender is chosen of announcements, too.
            Some(_) if !self.wanted(message) => return Ok(()),
            Some(_) => {}
            None if !counts || !self.wanted(message) => return Ok(()),
            None => {}
        }
        if let Some(runner) = &mut self.runner {
            runner.add(Job { message: message.clone(), more: Vec::new() })?;
        } else if self.args.raw {
            context.out.raw(&message.text)?;
        } else {
            context.out.event(&Event::Message(message.clone()), self.several)?;
        }
        if let Some(notifier) = &self.notifier {
            notifier.show(message);
        }
        if counts {
            self.printed += 1;
        }
        Ok(())
    }

    /// Returns true if only some messages are wanted.
    fn is_choosing(&self) -> bool {
        let args = self.args;
        args.mentions || args.from.is_some() || args.matches.is_some() || args.run.is_some()
    }

    fn wanted(&self, message: &Message) -> bool {
        // A program of this host is not run by users of others.
        if self.runner.is_some() && !self.args.remote && message.from.user.host().is_some() {
            return false;
        }
        if self.args.mentions
            && !message.mention
            && !matches!(message.id.stream, StreamName::Direct(_))
        {
            return false;
        }
        let by = self.args.from.as_ref().is_none_or(|user| message.from.user == *user);
        let result = || RunResult::parse(&message.text).map(|result| result.title);
        by && self.args.matches.as_ref().is_none_or(|re| re.is_match(&message.text))
            && self.args.run.as_ref().is_none_or(|title| result().as_ref() == Some(title))
    }
}
