//! `moot answer`: runs a program for each request in a room; what it writes is the reply.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    args::{AnswerArgs, check_will},
    connect::Context,
    exec::{self, Job, Outcome, Runner},
    exit_code::{Exit, Failure},
    input,
    interrupt::{self, Leave},
    json,
};
use crate::{
    chat::{
        member::Kind,
        message::{Message, MessageId},
        names::Target,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::{Answering, Begin, Follow, HistoryRequest, Request},
        stream_id::StreamId,
        text::written_out,
    },
    client::{Event, Follows, Member, Wake, WakeReceiver},
    limits::{ANSWER_JOBS_MAX, REQUESTS_DONE_KEPT_MAX, TEXT_BYTES_MAX},
};

/// End of a reply that was too long.
const CUT: &str = "…";

/// Input from the other threads.
enum AnswerInput {
    Leave(Leave),
    Ended(Box<Outcome>),
}

pub(super) fn run(context: &mut Context, args: &AnswerArgs) -> Result<Exit, Failure> {
    check_will(args.will.as_ref(), 1)?;
    let Some(program) = args.exec.program()? else {
        return Err(Failure::new(Exit::Usage, "--exec CMD is required"));
    };
    let deadline = context.global.timeout.map(|t| Instant::now() + Duration::from(t));
    let interrupted = interrupt::catch()?;
    interrupt::watch_reader();
    let (to_loop, inputs) = WakeReceiver::new(args.exec.jobs() as usize + 1)
        .map_err(|e| Failure::new(Exit::Failed, format!("can't wait for input: {e}")))?;
    interrupt::forward(interrupted, to_loop.clone(), AnswerInput::Leave)?;
    let connection = context.connect()?;
    let places = context.places()?;
    let work =
        exec::work(&program, &context.environment(&places), true, &to_loop, AnswerInput::Ended);
    let runner = Runner::new(&program, args.exec.jobs(), work);
    let follows = Follows {
        follow: vec![Follow::Room(args.room.clone()), Follow::Announcements],
        begin: Begin::Now,
        will: args.will.clone(),
        ..Follows::default()
    };
    let hello = context.hello(args.kind.map_or(Kind::Script, Kind::from))?;
    let join_by = deadline.unwrap_or_else(|| context.deadline());
    let member = Member::join(connection, places, hello, follows, Some(join_by))?;
    let mut answerer = Answerer {
        member,
        args,
        runner,
        ready: None,
        asked: HashMap::new(),
        held: Vec::new(),
        done: VecDeque::new(),
        numbering: None,
        count: 0,
    };
    let exit = loop {
        if args.count.is_some_and(|count| answerer.count >= count) {
            break Exit::Done;
        }
        match answerer.member.wait(Some(&inputs), deadline) {
            Wake::Item(Some(AnswerInput::Ended(outcome))) => answerer.ended(context, &outcome)?,
            Wake::Item(Some(AnswerInput::Leave(why))) => break why.exit(),
            Wake::Item(None) => break Exit::Interrupted,
            Wake::TimedOut => break Exit::TimedOut,
            Wake::Event(event) => answerer.take_event(context, event)?,
        }
    };
    context.out.flush()?;
    answerer.member.quit();
    Ok(exit)
}

/// Purpose of a question to the server.
enum WorkerRequest {
    Answering,
    Take(u64),
    Page(u64),
    /// The end of the job with this number.
    Told(u64),
    Nothing,
}

/// A request that this process was offered or has taken, until its reply is seen in the room.
struct HeldJob {
    seq: u64,
    /// Number of earlier attempts.
    before: u32,
    /// The server's word that it is ours.
    taken: bool,
    message: Option<Message>,
    /// Its whole name, once it was read.
    id: Option<MessageId>,
    /// The program was begun.
    begun: bool,
    /// Another worker has it by now, or its sender no longer waits.
    lost: bool,
    /// End of the program.
    end: Option<JobEnd>,
}

/// Result of a program for a job.
struct JobEnd {
    failure: Option<String>,
    /// The reply; none if there is nothing to say.
    text: Option<String>,
    /// The server knows how it went: the reply may follow.
    told: bool,
    /// The reply's counter, once it is said.
    counter: Option<u64>,
}

struct Answerer<'a> {
    member: Member,
    args: &'a AnswerArgs,
    runner: Runner,
    /// Event to report once jobs come.
    ready: Option<Event>,
    asked: HashMap<u32, WorkerRequest>,
    held: Vec<HeldJob>,
    /// Numbers of those that have their reply, the newest last.
    done: VecDeque<u64>,
    /// Numbering that those numbers belong to.
    numbering: Option<(bool, u32)>,
    count: u64,
}

impl Answerer<'_> {
    fn take_event(&mut self, context: &mut Context, event: Event) -> Result<(), Failure> {
        match event {
            Event::Reply(serial, answer) => {
                let asked = self.asked.remove(&serial).unwrap_or(WorkerRequest::Nothing);
                return self.answered(context, &asked, answer);
            }
            Event::Sent(sent) => return self.stands(context, sent.counter),
            Event::Rejected(refusal) => {
                match refusal.code {
                    // It may have been.
                    RefusalCode::UnknownSubmit => context.out.warn(&refusal.text),
                    _ => context.out.warn(&format!("a reply was rejected: {}", refusal.text)),
                }
                let refused = self.member.take_refused();
                self.not_taken(&refused);
            }
            Event::NotFollowed(Follow::Room(_), refusal) => return Err(refusal.into()),
            Event::Ended(refused) => return Err(refused.into()),
            Event::Ready { .. } => {
                self.renumber(context);
                self.answer_in();
                self.ready = Some(event);
            }
            Event::Offer { stream, seq, before, .. } => self.offered(stream, seq, before),
            Event::End { .. } => {
                // Jobs that were offered, or not confirmed, are offered again.
                self.asked.clear();
                self.held.retain(|held| held.begun);
                if context.global.json {
                    context.out.event(&event, false)?;
                    context.out.flush()?;
                } else {
                    context.out.aside(&event, false);
                }
            }
            Event::Removed { room, .. } | Event::Deleted { room } => {
                let text = format!("{room} was closed for this session; no jobs are left");
                return Err(Failure::new(Exit::Denied, text));
            }
            _ => {}
        }
        Ok(())
    }

    /// Numbers of another history, or of another run of a room without one, mean other requests.
    fn renumber(&mut self, context: &Context) {
        let now = self.member.numbering_of(&self.args.room);
        let before = std::mem::replace(&mut self.numbering, now);
        if before.is_none() || before == now {
            return;
        }
        self.done.clear();
        self.held.retain(|held| held.end.is_none());
        for held in self.held.iter_mut().filter(|held| !held.lost) {
            held.lost = true;
            let id = format!("{}:{}", self.args.room, held.seq);
            context.out.warn(&format!("the server no longer knows {id}"));
            // Another one may have that number now; none has this.
            held.seq = 0;
        }
    }

    /// Says that it answers, what it works on, and what it has done. A reply that is on its way
    /// comes before that.
    fn answer_in(&mut self) {
        let Some(stream) = self.member.tag_of(&self.args.room) else { return };
        let is_said = |held: &&HeldJob| held.end.as_ref().is_some_and(|end| end.counter.is_some());
        let (said, open): (Vec<_>, Vec<_>) =
            self.held.iter().filter(|held| !held.lost).partition(is_said);
        let answering = Answering {
            stream,
            queue: self.args.queue.clone(),
            jobs: self.args.exec.jobs(),
            holding: open.iter().map(|held| held.seq).collect(),
            done: self.done.iter().copied().chain(said.iter().map(|held| held.seq)).collect(),
        };
        let serial = self.member.ask(&Request::Answer(answering));
        self.asked.insert(serial, WorkerRequest::Answering);
    }

    /// Takes what is offered, and reads it, in one go.
    fn offered(&mut self, stream: StreamId, seq: u64, before: u32) {
        let open = self.held.len() as u64;
        if self.args.count.is_some_and(|count| self.count + open >= count) {
            return;
        }
        if self.done.contains(&seq) || self.held.iter().any(|held| held.seq == seq) {
            return;
        }
        let serial = self.member.ask(&Request::Take { stream, seq });
        self.asked.insert(serial, WorkerRequest::Take(seq));
        let target = Target::Room(self.args.room.clone());
        let serial = self.member.ask(&Request::History(HistoryRequest::Page {
            target,
            first: seq,
            last: seq,
        }));
        self.asked.insert(serial, WorkerRequest::Page(seq));
        let (taken, begun, lost) = (false, false, false);
        self.held.push(HeldJob {
            seq,
            before,
            taken,
            message: None,
            id: None,
            begun,
            lost,
            end: None,
        });
    }

    fn answered(
        &mut self,
        context: &mut Context,
        asked: &WorkerRequest,
        answer: Result<Reply, Refusal>,
    ) -> Result<(), Failure> {
        match (asked, answer) {
            (WorkerRequest::Answering, Ok(Reply::Answering { lost })) => {
                for held in self.held.iter_mut().filter(|held| lost.contains(&held.seq)) {
                    held.lost = true;
                    let id = format!("{}:{}", self.args.room, held.seq);
                    context.out.warn(&format!("{id} went to another worker while disconnected"));
                }
                // How those went that ended meanwhile.
                for at in 0..self.held.len() {
                    self.tell(at);
                }
                let Some(ready) = self.ready.take() else { return Ok(()) };
                if !context.global.json {
                    context.out.aside(&ready, false);
                    return Ok(());
                }
                context.out.event(&ready, false)?;
                context.out.flush()
            }
            // It comes back by itself.
            (WorkerRequest::Answering, Err(_)) if !self.member.is_connected() => Ok(()),
            (WorkerRequest::Answering, Err(refusal)) => Err(refusal.into()),
            (WorkerRequest::Take(seq), Ok(_)) => {
                if let Some(held) = self.held.iter_mut().find(|held| held.seq == *seq) {
                    held.taken = true;
                }
                self.begin(context, *seq)
            }
            // It is asked again after a break.
            (WorkerRequest::Told(_), Err(_)) if !self.member.is_connected() => Ok(()),
            (WorkerRequest::Told(seq), result) => self.told(context, *seq, result.is_ok()),
            // It came too late, or its sender no longer waits.
            (WorkerRequest::Take(seq), Err(_)) => {
                self.held.retain(|held| held.seq != *seq);
                Ok(())
            }
            (WorkerRequest::Page(seq), Ok(Reply::Page(page))) => {
                let message = self.member.message_of_page(&self.args.room, &page, *seq);
                let Some(held) = self.held.iter_mut().find(|held| held.seq == *seq) else {
                    return Ok(());
                };
                if message.is_none() {
                    self.can_not_read(context, *seq, "no longer stored");
                    return Ok(());
                }
                held.id = message.as_ref().map(|message| message.id.clone());
                held.message = message;
                self.begin(context, *seq)
            }
            (WorkerRequest::Page(seq), Err(refusal)) => {
                if self.member.is_connected() {
                    self.can_not_read(context, *seq, &refusal.text);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reports a job that can't be read, so that its sender does not wait for it.
    fn can_not_read(&mut self, context: &Context, seq: u64, why: &str) {
        context.out.warn(&format!("{}:{seq} can't be read: {why}", self.args.room));
        let Some(at) = self.held.iter().position(|held| held.seq == seq) else { return };
        if !self.held[at].taken {
            self.held.remove(at);
            return;
        }
        self.held[at].begun = true;
        let failure = Some(why.to_owned());
        self.held[at].end = Some(JobEnd { failure, text: None, told: false, counter: None });
        self.tell(at);
    }

    /// Runs the program once the request is ours and was read.
    fn begin(&mut self, context: &Context, seq: u64) -> Result<(), Failure> {
        let Some(held) = self.held.iter_mut().find(|held| held.seq == seq) else { return Ok(()) };
        let (true, Some(message)) = (held.taken, held.message.take()) else { return Ok(()) };
        held.begun = true;
        let attempt = held.before + 1;
        if held.before > 0 {
            let text = format!(
                "{}: attempt {attempt}; the previous worker ended without a reply",
                message.id
            );
            context.out.note(&text);
        }
        let queue = self.args.queue.as_ref().map(ToString::to_string).unwrap_or_default();
        let more = vec![("MOOT_ATTEMPT", attempt.to_string()), ("MOOT_QUEUE", queue)];
        self.runner.add(Job { message, more })
    }

    /// The program has ended: what it wrote is the reply.
    fn ended(&mut self, context: &mut Context, outcome: &Outcome) -> Result<(), Failure> {
        self.runner.ended();
        let failure = outcome.failure();
        let id = &outcome.message.id;
        if let Some(why) = &failure {
            context.out.warn(&format!("{}: {why} ({id})", self.runner.name()));
        }
        let of_it = |held: &HeldJob| held.id.as_ref() == Some(id);
        let Some(at) = self.held.iter().position(of_it) else { return Ok(()) };
        if self.held[at].lost {
            self.held.remove(at);
            return Ok(());
        }
        let (text, cut) = reply(outcome);
        if cut {
            context.out.warn(&format!("the reply to {id} was too long, and was cut"));
        }
        // The end is reported first, so that the sender knows how to take the reply.
        let told = failure.is_none() && !text.is_empty();
        let text = (!text.is_empty()).then_some(text);
        self.held[at].end = Some(JobEnd { failure, text, told, counter: None });
        match told {
            true => self.say(at),
            false => self.tell(at),
        }
        Ok(())
    }

    /// Reports the end of a job, unless it is known; after a break it is reported again.
    fn tell(&mut self, at: usize) {
        let held = &self.held[at];
        let Some(end) = held.end.as_ref().filter(|end| !end.told && !held.lost) else { return };
        let (failed, silent, seq) = (end.failure.is_some(), end.text.is_none(), held.seq);
        let Some(stream) = self.member.tag_of(&self.args.room) else { return };
        let serial = self.member.ask(&Request::Answered { stream, seq, failed, silent });
        self.asked.insert(serial, WorkerRequest::Told(seq));
    }

    /// The server knows how it went; if it is another one's by now, there is nothing more to be
    /// said.
    fn told(&mut self, context: &mut Context, seq: u64, is_ours: bool) -> Result<(), Failure> {
        let Some(at) = self.held.iter().position(|held| held.seq == seq) else { return Ok(()) };
        let Some(end) = &mut self.held[at].end else { return Ok(()) };
        end.told = true;
        match (&end.text, is_ours) {
            (Some(_), true) => {
                self.say(at);
                Ok(())
            }
            (None, true) => self.over(context, at),
            (_, false) => {
                self.held.remove(at);
                Ok(())
            }
        }
    }

    fn say(&mut self, at: usize) {
        let held = &mut self.held[at];
        let Some(end) = held.end.as_mut().filter(|end| end.counter.is_none()) else { return };
        // It is neither empty nor longer than a message may be.
        let Some(text) = end.text.clone().and_then(|text| text.try_into().ok()) else { return };
        let to = Target::Room(self.args.room.clone());
        end.counter = Some(self.member.say(to, Some(held.seq), text));
    }

    fn said_as(&self, counter: u64) -> Option<usize> {
        let is_it =
            |held: &HeldJob| held.end.as_ref().is_some_and(|end| end.counter == Some(counter));
        self.held.iter().position(is_it)
    }

    /// Ends the job whose reply is acknowledged.
    fn stands(&mut self, context: &mut Context, counter: u64) -> Result<(), Failure> {
        self.said_as(counter).map_or(Ok(()), |at| self.over(context, at))
    }

    /// Reports jobs whose replies the server does not accept: their senders learn that no reply
    /// comes.
    fn not_taken(&mut self, counters: &[u64]) {
        for at in counters.iter().filter_map(|counter| self.said_as(*counter)).collect::<Vec<_>>() {
            if let Some(end) = &mut self.held[at].end {
                let failure = end.failure.take().or(Some("the reply was rejected".to_owned()));
                *end = JobEnd { failure, text: None, told: false, counter: None };
            }
            self.tell(at);
        }
    }

    fn over(&mut self, context: &mut Context, at: usize) -> Result<(), Failure> {
        let held = self.held.remove(at);
        let seq = held.seq;
        if self.done.len() >= REQUESTS_DONE_KEPT_MAX - ANSWER_JOBS_MAX {
            self.done.pop_front();
        }
        self.done.push_back(seq);
        self.count += 1;
        let id = format!("{}:{seq}", self.args.room);
        let failure = held.end.and_then(|end| end.failure);
        if context.global.json {
            let answered = json::answered(&id, held.before + 1, failure.as_deref());
            context.out.json(&answered)?;
        } else if context.global.verbose {
            context.out.note(&format!("answered {id}"));
        }
        Ok(())
    }
}

/// Returns the output of a program as a text, and true if that is not all; empty if it wrote
/// nothing.
fn reply(outcome: &Outcome) -> (String, bool) {
    let mut text = written_out(&input::whole(&outcome.output));
    let cut = outcome.cut || text.len() > TEXT_BYTES_MAX;
    if cut {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX - CUT.len()));
        text.push_str(CUT);
    }
    (text, cut)
}
