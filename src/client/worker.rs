//! Worker of a room: claims jobs, one at a time, and sends their replies.

use std::{collections::VecDeque, convert::Infallible};

use super::{
    event::Event,
    link::LinkError,
    member::{Member, Wake},
    server::Server,
};
use crate::{
    chat::{
        message::Message,
        names::{Label, RoomName, Target},
        refusal::Refusal,
        reply::Reply,
        request::{Answering, Begin, Follow, HistoryRequest, Request},
        text::Text,
    },
    limits::{REQUESTS_DONE_KEPT_MAX, TEXT_BYTES_MAX},
};

/// Purpose of a request that waits for its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkerCall {
    Register,
    Claim(u64),
    Read(u64),
    Report(u64),
}

/// A job from its offer until its reply is acknowledged.
#[derive(Debug)]
struct ClaimedJob {
    seq: u64,
    is_claimed: bool,
    message: Option<Message>,
    /// Result of the work: the reply (empty if there is nothing to say), or the failure.
    result: Option<Result<String, String>>,
    /// The server knows how the job ended: the reply may follow.
    is_reported: bool,
    /// Counter of the reply's submit.
    counter: Option<u64>,
}

struct RoomWorker<'a, W> {
    member: Member,
    room: &'a RoomName,
    queue: Option<Label>,
    work: W,
    calls: Vec<(u32, WorkerCall)>,
    job: Option<ClaimedJob>,
    /// Sequence numbers of finished jobs, the newest last.
    done: VecDeque<u64>,
    /// Numbering that the sequence numbers belong to.
    numbering: Option<(bool, u32)>,
}

impl Server {
    /// Runs `work` for each job that is sent to a room, one at a time, and sends its result as the
    /// reply, unless it is empty. One worker of a `queue` gets each job; without a queue
    /// this worker gets all of them.
    ///
    /// `work` runs in this thread: while it takes longer than a second or so, other users see this
    /// session as unresponsive. A job whose worker ended is given to another worker, so `work` may
    /// see a job that was begun before. A failure that is longer than a message is cut.
    ///
    /// ```no_run
    /// # use moot::client::Server;
    /// let server = Server::find(None)?;
    /// server.answer(&"ci".parse()?, None, |job| match job.text.as_str() {
    ///     "ping" => Ok("pong".to_owned()),
    ///     other => Err(format!("unknown job: {other}")),
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the reason why this worker can't go on: a refusal, or the connection's failure. A
    /// server that restarts is waited for.
    pub fn answer(
        &self,
        room: &RoomName,
        queue: Option<Label>,
        work: impl FnMut(&Message) -> Result<String, String>,
    ) -> Result<Infallible, LinkError> {
        let member = self.listen(vec![Follow::Room(room.clone())], Begin::Now)?;
        let calls = Vec::new();
        let (job, done, numbering) = (None, VecDeque::new(), None);
        let mut worker = RoomWorker { member, room, queue, work, calls, job, done, numbering };
        loop {
            if let Err(e) = worker.turn() {
                worker.member.quit();
                return Err(e);
            }
        }
    }
}

impl<W: FnMut(&Message) -> Result<String, String>> RoomWorker<'_, W> {
    fn turn(&mut self) -> Result<(), LinkError> {
        match self.member.wait::<()>(None, None) {
            Wake::Event(Event::Ready { .. }) => self.register(),
            Wake::Event(Event::Offer { seq, .. }) => self.claim(seq),
            Wake::Event(Event::End { .. }) => {
                // A job that was offered only is offered again.
                self.calls.clear();
                self.job.take_if(|job| job.result.is_none());
            }
            Wake::Event(Event::Removed { room, .. } | Event::Deleted { room }) => {
                return Err(LinkError::Ended(format!("{room} is closed")));
            }
            Wake::Event(Event::Reply(serial, result)) => {
                if let Some(at) = self.calls.iter().position(|(asked, _)| *asked == serial) {
                    let (_, call) = self.calls.swap_remove(at);
                    self.apply(call, result)?;
                }
            }
            Wake::Event(Event::Sent(sent)) => {
                self.finish_if(|job| job.counter == Some(sent.counter));
            }
            Wake::Event(Event::Rejected(_)) => self.fail_refused(),
            Wake::Event(Event::NotFollowed(_, refusal)) => {
                return Err(LinkError::Refusal(refusal));
            }
            Wake::Event(Event::Ended(refused)) => return Err(LinkError::Refused(refused)),
            Wake::Event(_) | Wake::Item(_) | Wake::TimedOut => {}
        }
        Ok(())
    }

    fn call(&mut self, request: &Request, call: WorkerCall) {
        let serial = self.member.ask(request);
        self.calls.push((serial, call));
    }

    /// Registers with the jobs that it holds and has done. Numbers of another history, or of an
    /// earlier boot of a room without one, mean other jobs.
    fn register(&mut self) {
        let Some(stream) = self.member.tag_of(self.room) else { return };
        let now = self.member.numbering_of(self.room);
        let before = std::mem::replace(&mut self.numbering, now);
        if before.is_some() && before != now {
            self.done.clear();
            self.job = None;
        }
        let (said, open): (Vec<_>, Vec<_>) = self.job.iter().partition(|job| job.counter.is_some());
        let answering = Answering {
            stream,
            queue: self.queue.clone(),
            jobs: 1,
            holding: open.iter().map(|job| job.seq).collect(),
            done: self.done.iter().copied().chain(said.iter().map(|job| job.seq)).collect(),
        };
        self.call(&Request::Answer(answering), WorkerCall::Register);
    }

    /// Claims a job and reads it.
    fn claim(&mut self, seq: u64) {
        let Some(stream) = self.member.tag_of(self.room) else { return };
        if self.job.is_some() || self.done.contains(&seq) {
            return;
        }
        self.call(&Request::Take { stream, seq }, WorkerCall::Claim(seq));
        let target = Target::Room(self.room.clone());
        self.call(
            &Request::History(HistoryRequest::Page { target, first: seq, last: seq }),
            WorkerCall::Read(seq),
        );
        let (is_claimed, is_reported, message) = (false, false, None);
        let (result, counter) = (None, None);
        self.job = Some(ClaimedJob { seq, is_claimed, message, result, is_reported, counter });
    }

    fn apply(&mut self, call: WorkerCall, result: Result<Reply, Refusal>) -> Result<(), LinkError> {
        match (call, result) {
            (WorkerCall::Register, Ok(Reply::Answering { lost })) => {
                self.job.take_if(|job| lost.contains(&job.seq));
                self.report();
            }
            // After a break everything is asked again.
            (_, Err(_)) if !self.member.is_connected() => {}
            (WorkerCall::Register, Err(refusal)) => return Err(LinkError::Refusal(refusal)),
            (WorkerCall::Claim(seq), Ok(_)) => {
                if let Some(job) = self.job.as_mut().filter(|job| job.seq == seq) {
                    job.is_claimed = true;
                }
                self.work();
            }
            // The offer has ended, or another worker has the job.
            (WorkerCall::Claim(seq) | WorkerCall::Report(seq), Err(_)) => {
                self.job.take_if(|job| job.seq == seq);
            }
            (WorkerCall::Read(seq), Ok(Reply::Page(page))) => {
                let message = self.member.message_of_page(self.room, &page, seq);
                let Some(job) = self.job.as_mut().filter(|job| job.seq == seq) else {
                    return Ok(());
                };
                match message {
                    Some(message) => job.message = Some(message),
                    None => job.result = Some(Err("the job is no longer stored".to_owned())),
                }
                self.work();
            }
            (WorkerCall::Read(seq), Err(refusal)) => {
                if let Some(job) = self.job.as_mut().filter(|job| job.seq == seq) {
                    job.result = Some(Err(refusal.text));
                }
                self.work();
            }
            (WorkerCall::Report(seq), Ok(_)) => self.reported(seq),
            (WorkerCall::Register | WorkerCall::Read(_), Ok(_)) => {}
        }
        Ok(())
    }

    /// Does the job once it is claimed and was read.
    fn work(&mut self) {
        let Some(job) = self.job.as_mut().filter(|job| job.is_claimed) else { return };
        if let Some(message) = job.message.take() {
            job.result = Some((self.work)(&message).map_err(cut));
        }
        self.report();
    }

    /// Reports the end of the job. A plain reply is its own report; after a failure, or without a
    /// reply, the report comes first, so that the sender knows how to read the reply.
    fn report(&mut self) {
        let Some(job) = &self.job else { return };
        let (Some(result), None) = (&job.result, job.counter) else { return };
        let is_plain = result.as_ref().is_ok_and(|text| !text.is_empty());
        if is_plain || job.is_reported {
            return self.say();
        }
        let Some(stream) = self.member.tag_of(self.room) else { return };
        let (failed, seq) = (result.is_err(), job.seq);
        let silent = result.as_ref().map_or_else(String::is_empty, String::is_empty);
        let answered = Request::Answered { stream, seq, failed, silent };
        self.call(&answered, WorkerCall::Report(seq));
    }

    fn reported(&mut self, seq: u64) {
        let Some(job) = self.job.as_mut().filter(|job| job.seq == seq) else { return };
        job.is_reported = true;
        self.say();
    }

    /// Sends the reply; a job without one has ended.
    fn say(&mut self) {
        let Some(job) = &mut self.job else { return };
        let Some(Ok(text) | Err(text)) = &job.result else { return };
        if text.is_empty() {
            return self.finish_if(|_| true);
        }
        match Text::new(text) {
            Ok(text) => {
                let to = Target::Room(self.room.clone());
                job.counter = Some(self.member.say(to, Some(job.seq), text));
            }
            // What can't be sent is never submitted.
            Err(_) => self.fail(),
        }
    }

    fn finish_if(&mut self, is_done: impl FnOnce(&ClaimedJob) -> bool) {
        if let Some(job) = self.job.take_if(|job| is_done(job)) {
            if self.done.len() >= REQUESTS_DONE_KEPT_MAX - 1 {
                self.done.pop_front();
            }
            self.done.push_back(job.seq);
        }
    }

    /// Reports a job whose reply was refused as failed: its sender learns that no reply comes.
    fn fail_refused(&mut self) {
        let refused = self.member.take_refused();
        let is_refused = |job: &ClaimedJob| job.counter.is_some_and(|of| refused.contains(&of));
        if self.job.as_ref().is_some_and(is_refused) {
            self.fail();
        }
    }

    /// Reports a job without a reply as failed.
    fn fail(&mut self) {
        let Some(job) = &mut self.job else { return };
        job.result = Some(Err(String::new()));
        (job.counter, job.is_reported) = (None, false);
        self.report();
    }
}

/// Returns as much of a failure as fits into a reply: the report of the failure promises one.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
