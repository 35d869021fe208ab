//! `moot ask`: says a request, and prints the replies to it.

use std::time::{Duration, Instant};

use super::{
    args::AskArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    interrupt, json, send,
};
use crate::{
    chat::{
        member::{Kind, Member as Somebody},
        message::{Message, MessageId, StreamName},
        names::Target,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::{Begin, Follow, Request},
        text::Text,
    },
    client::{Event, Follows, LinkError, Member, Wake},
    limits::{ASK_MS_DEFAULT, REQUESTS_DONE_KEPT_MAX},
};

/// Maximum delay before replies are printed in a room with many messages.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) fn run(context: &mut Context, args: &AskArgs) -> Result<Exit, Failure> {
    let text = send::whole(&args.text)?;
    let wait = context.global.timeout.map_or(Duration::from_millis(ASK_MS_DEFAULT), Duration::from);
    let deadline = Instant::now() + wait;
    let interrupted = interrupt::catch()?;
    let connection = context.connect()?;
    let (follow, stream) = match &args.target {
        Target::Room(room) => (Follow::Room(room.clone()), StreamName::Room(room.clone())),
        Target::User { user, .. } => (Follow::With(user.clone()), StreamName::Direct(user.clone())),
    };
    let follows = Follows { follow: vec![follow], begin: Begin::Now, ..Follows::default() };
    let hello = context.hello(Kind::Script)?;
    let member = Member::join(connection, context.places()?, hello, follows, Some(deadline))?;
    let mut asker = Asker {
        member,
        args,
        text,
        stream,
        counter: 0,
        id: None,
        asked: None,
        is_asked: false,
        came_back: false,
        early: Vec::new(),
        replies: Vec::new(),
        came: None,
        failed: Vec::new(),
        silent: Vec::new(),
        printed: 0,
        exit: Exit::Done,
    };
    asker.say(deadline)?;
    let exit = loop {
        if let Some(exit) = asker.print(context)? {
            break exit;
        }
        // What has to be looked at again soon.
        let soon = asker.came_back || !asker.replies.is_empty();
        let until = if soon { deadline.min(Instant::now() + LOOK_AGAIN) } else { deadline };
        match asker.member.wait(Some(&interrupted), Some(until)) {
            Wake::Item(why) => break why.map_or(Exit::Interrupted, interrupt::Leave::exit),
            Wake::TimedOut if deadline <= Instant::now() => {
                let (came, wanted) = (asker.printed, args.replies);
                let text = format!("timed out: {came} of {wanted} replies came");
                context.out.flush()?;
                asker.member.quit();
                return Err(Failure::new(Exit::TimedOut, text));
            }
            Wake::Event(event) => asker.take(context, Some(event))?,
            Wake::TimedOut => asker.take(context, None)?,
        }
    };
    context.out.flush()?;
    asker.member.quit();
    Ok(exit)
}

/// A reply: a message, or that there was nothing to say.
enum JobAnswer {
    Said(Box<Message>),
    Silent(Somebody),
}

impl JobAnswer {
    fn by(&self) -> &Somebody {
        match self {
            Self::Said(message) => &message.from,
            Self::Silent(by) => by,
        }
    }
}

struct Asker<'a> {
    member: Member,
    args: &'a AskArgs,
    text: Text,
    stream: StreamName,
    /// Of the request among what this member says.
    counter: u64,
    /// Id of the job, once it is acknowledged.
    id: Option<MessageId>,
    /// The question to the server that makes it one.
    asked: Option<u32>,
    is_asked: bool,
    /// There was a break: it is asked again once everything that was said meanwhile was seen.
    came_back: bool,
    /// Replies that came before the request's own number.
    early: Vec<Message>,
    replies: Vec<JobAnswer>,
    /// When the first of them came.
    came: Option<Instant>,
    /// Users and processes that could not do it: a session may be another one after a break.
    failed: Vec<(u32, u32)>,
    /// The same of those that had nothing to say.
    silent: Vec<(u32, u32)>,
    printed: u64,
    exit: Exit,
}

impl Asker<'_> {
    fn say(&mut self, deadline: Instant) -> Result<(), Failure> {
        let target = &self.args.target;
        if let Target::User { .. } = target {
            let opened = self.member.ask(&Request::Open { target: target.clone() });
            loop {
                match self.member.wait::<()>(None, Some(deadline)) {
                    Wake::Event(Event::Reply(serial, Ok(Reply::Opened(_)))) if serial == opened => {
                        break;
                    }
                    Wake::Event(Event::Reply(_, Err(refusal))) => return Err(refusal.into()),
                    Wake::Event(Event::Ended(refused)) => return Err(refused.into()),
                    Wake::TimedOut => return Err(LinkError::TimedOut.into()),
                    _ => {}
                }
            }
        }
        self.counter = self.member.say(target.clone(), None, self.text.clone());
        Ok(())
    }

    /// Handles an event, or none if it is time to look again.
    fn take(&mut self, context: &Context, event: Option<Event>) -> Result<(), Failure> {
        if let Some(event) = event {
            self.take_event(context, event)?;
        }
        if self.came_back && self.id.is_some() && self.member.has_shown_all() {
            self.came_back = false;
            self.ask(true);
        }
        Ok(())
    }

    /// Tells the server that it is a request. What is said to one user is answered by people.
    fn ask(&mut self, again: bool) {
        if let Target::Room(_) = &self.args.target {
            self.asked = Some(self.member.ask(&Request::Ask { counter: self.counter, again }));
        }
    }

    fn answered(
        &mut self,
        context: &Context,
        answer: Result<Reply, Refusal>,
    ) -> Result<(), Failure> {
        match answer {
            Ok(Reply::Asked { answerers: 0 }) if !self.is_asked => {
                context.out.note(&format!("no worker in {} yet; waiting", self.args.target));
            }
            Ok(_) => {}
            // It is asked again after the break.
            Err(_) if !self.member.is_connected() => return Ok(()),
            // A room without history forgot it with the server's last run: it is sent again.
            Err(refusal) if refusal.code == RefusalCode::UnknownSubmit => {
                if let to @ Target::Room(_) = &self.args.target {
                    self.id = None;
                    self.counter = self.member.say(to.clone(), None, self.text.clone());
                }
                return Ok(());
            }
            Err(refusal) => return Err(refusal.into()),
        }
        self.is_asked = true;
        Ok(())
    }

    fn take_event(&mut self, context: &Context, event: Event) -> Result<(), Failure> {
        match event {
            Event::Sent(sent) => {
                let seq = sent.id.seq;
                self.id = Some(sent.id);
                let early = std::mem::take(&mut self.early).into_iter();
                let replies = early.filter(|message| message.reply_to == Some(seq));
                self.replies.extend(replies.map(|message| JobAnswer::Said(Box::new(message))));
                self.ask(false);
            }
            Event::Reply(serial, answer) if self.asked == Some(serial) => {
                self.asked = None;
                self.answered(context, answer)?;
            }
            Event::Rejected(refusal) | Event::NotFollowed(_, refusal) => {
                return Err(refusal.into());
            }
            Event::Ended(refused) => return Err(refused.into()),
            Event::Message(message) if message.id.stream == self.stream => {
                self.take_message(message);
            }
            Event::Answered { by, failed, silent, .. } => {
                if failed && self.failed.len() < REQUESTS_DONE_KEPT_MAX {
                    self.failed.push((by.uid, by.pid));
                }
                // After a break it may be reported once more.
                let process = (by.uid, by.pid);
                if silent && !self.silent.contains(&process) {
                    if self.silent.len() < REQUESTS_DONE_KEPT_MAX {
                        self.silent.push(process);
                    }
                    self.replies.push(JobAnswer::Silent(by));
                }
            }
            Event::Abandoned { .. } | Event::Gap { .. } | Event::End { .. } => {
                context.out.aside(&event, false);
            }
            // The first one tells of the session in which it was said.
            Event::Ready { .. } => self.came_back = self.id.is_some(),
            Event::Removed { room, .. } | Event::Deleted { room } => {
                let text = format!("{room} was closed for this session; no replies can come");
                return Err(Failure::new(Exit::Denied, text));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_message(&mut self, message: Message) {
        let Some(to) = message.reply_to else { return };
        match &self.id {
            Some(id) if id.seq == to => self.replies.push(JobAnswer::Said(Box::new(message))),
            Some(_) => {}
            None if self.early.len() < REQUESTS_DONE_KEPT_MAX => self.early.push(message),
            None => {}
        }
    }

    /// Prints replies once all that came with them was seen; gives the exit code once there are
    /// enough.
    fn print(&mut self, context: &mut Context) -> Result<Option<Exit>, Failure> {
        // The end of a worker's job is reported before its reply, by another way.
        // After a break the missed messages and reports come first.
        let is_behind = self.came_back || self.asked.is_some();
        if self.replies.is_empty() || (is_behind && self.member.is_connected()) {
            return Ok(None);
        }
        let came = *self.came.get_or_insert_with(Instant::now);
        if !self.member.is_quiet() && came.elapsed() < LOOK_AGAIN {
            return Ok(None);
        }
        self.came = None;
        for answer in std::mem::take(&mut self.replies) {
            let by = answer.by();
            let failed = self.failed.contains(&(by.uid, by.pid));
            if context.global.json {
                let object = match &answer {
                    JobAnswer::Said(message) => json::reply(message, failed),
                    JobAnswer::Silent(by) => json::silent_reply(self.id.as_ref(), by, failed),
                };
                context.out.json(&object)?;
            } else {
                match &answer {
                    JobAnswer::Said(message) => context.out.raw(&message.text)?,
                    JobAnswer::Silent(_) if !failed => context.out.raw("")?,
                    JobAnswer::Silent(_) => {}
                }
            }
            if failed {
                self.exit = Exit::Failed;
                context.out.warn(&format!("{by} (pid {}) failed", by.pid));
            }
            self.printed += 1;
            if self.printed >= self.args.replies {
                return Ok(Some(self.exit));
            }
        }
        context.out.flush()?;
        Ok(None)
    }
}
