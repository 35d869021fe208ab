//! Jobs that wait for replies, the workers of each room, and what becomes of a job when a worker
//! ends.
//!
//! A job is an ordinary message whose sender says that it is one. The workers of a queue get it one
//! at a time: the hub offers it, and only the worker that claims the offer works on it, so a
//! stopped process holds nothing up. The job is done once the worker's reply is committed. If the
//! worker ends earlier, the sender is notified and another worker gets the job. A worker without a
//! queue is its own queue.
//!
//! All of this is in memory (`job_board.rs`). After a restart of the server the senders ask again
//! and the workers report what they work on and what they have done: nothing is offered before they
//! had time for that. What a worker reported is sent each time the sender asks again: no
//! connection's end loses it.

use std::collections::BTreeSet;

use super::{
    Action, Hub,
    accounts::Holding,
    instances::InstanceKey,
    job::{JobKey, Outcome, Queue, Sender, State},
    stream::StreamKind,
    work_queue::Early,
};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        frames::Frame,
        member::{EndCause, SessionId},
        names::Label,
        refusal::{Refusal, RefusalCode, refuse},
        reply::Reply,
        request::Answering,
        store::Entry,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{
        ANSWER_JOBS_MAX, ANSWERERS_PER_ROOM_MAX, ANSWERERS_PER_USER_MAX, ASKER_AWAY_MS_MAX,
        HOLDER_AWAY_MS_MAX, OFFER_MS_MAX, REASK_AFTER_MS, REQUESTS_DONE_KEPT_MAX,
        REQUESTS_PER_USER_MAX,
    },
};

impl Hub {
    // ---- senders -----------------------------------------------------------------------------

    /// Makes a job of a message that the session submitted; `again`: it was one before the
    /// connection broke. Returns nothing if the answer follows once the message is published.
    pub(super) fn ask_for(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        (counter, again): (u64, bool),
    ) -> Result<Option<Reply>, Refusal> {
        let session = &self.sessions[&id];
        let Some(key) = self.instances.submitted(session.instance, counter) else {
            let text = "the server does not know the message of this job; send the job again";
            return refuse(RefusalCode::UnknownSubmit, text);
        };
        let (tag, seq) = key;
        // A room that the sender may no longer know of counts as deleted.
        if self.stream_of(session.peer.uid, tag).is_none() {
            return refuse(RefusalCode::Absent, "the room of this job was deleted");
        }
        let Some(room) = self.room_name(tag) else {
            return refuse(RefusalCode::Input, "a job has to be sent to a room");
        };
        if session.sub_key(tag).is_none() {
            return refuse(RefusalCode::Input, format!("join {room} before sending a job to it"));
        }
        if seq <= self.stream(tag).backlog.head() || planted(Fault::JobBeforePublication) {
            return self.open_job(now, id, key, again).map(Some);
        }
        // Its number may still be given to another message. One answer waits for each message in
        // flight, which its sender's account is charged for.
        if self.asking.early.get(&key).is_some_and(|early| early.session == id) {
            return refuse(RefusalCode::Failed, "the job already waits to be stored");
        }
        let early = Early { session: id, serial, counter, again };
        if let Some(old) = self.asking.early.insert(key, early) {
            self.refuse_early(&old, "the client asks for the job in another session");
        }
        Ok(None)
    }

    fn refuse_early(&mut self, early: &Early, why: &str) {
        let result = Err(Refusal::new(RefusalCode::Failed, why));
        self.out.push(Action::Send(early.session, Frame::Reply { serial: early.serial, result }));
    }

    /// Messages of a stream were published: answers the requests that waited for them.
    pub(super) fn jobs_published(&mut self, now: Now, tag: StreamId) {
        let head = self.stream(tag).backlog.head();
        while let Some((key, _)) = self.asking.early.range((tag, 0)..=(tag, head)).next() {
            let key = *key;
            let Some(Early { session, serial, counter, again }) = self.asking.early.remove(&key)
            else {
                return;
            };
            if !self.sessions.contains(session) {
                continue;
            }
            let result = self.ask_for(now, session, serial, (counter, again));
            if let Some(result) = result.transpose() {
                self.out.push(Action::Send(session, Frame::Reply { serial, result }));
            }
        }
    }

    /// Sequence numbers of a stream above `numbered` are free again: nothing may refer to them.
    pub(super) fn jobs_not_stored(&mut self, tag: StreamId, why: &str) {
        let numbered = self.stream(tag).numbered;
        let freed = (tag, numbered + 1)..=(tag, u64::MAX);
        while let Some((key, _)) = self.asking.early.range(freed.clone()).next() {
            let key = *key;
            let Some(early) = self.asking.early.remove(&key) else { return };
            self.refuse_early(&early, &format!("the job could not be stored: {why}"));
        }
    }

    fn open_job(
        &mut self,
        now: Now,
        id: SessionId,
        key: JobKey,
        again: bool,
    ) -> Result<Reply, Refusal> {
        let (tag, seq) = key;
        let board = &mut self.asking.board;
        let workers = board.worker_count(tag);
        let reply = Reply::Asked { answerers: u32::try_from(workers).unwrap_or(u32::MAX) };
        if board.job(key).is_some() {
            board.set_sender(key, Sender::Here(id));
            for event in board.take_missed(key) {
                self.send(id, event);
            }
            self.send_outcomes(id, key);
            return Ok(reply);
        }
        let account = self.sessions[&id].account;
        let open = board.load(account).jobs;
        let most = REQUESTS_PER_USER_MAX.min(board.share_of(account));
        if open >= most || board.states_left(account) == 0 {
            let text = format!(
                "too many open jobs ({open} of this user, limit {most}); wait for replies or stop an `ask`"
            );
            return refuse(RefusalCode::Failed, text);
        }
        let mut known = Vec::new();
        // Of a message of an earlier boot the lists have what workers claim; else what this boot
        // saw.
        let claims_count = again || seq > self.streams[tag].inherited;
        for (worker, of) in board.workers(tag) {
            let Some(session) = self.sessions.get(&worker) else { continue };
            let instance = session.instance;
            let state = if !claims_count {
                continue;
            } else if of.done.contains(&seq) {
                State::Done { instance }
            } else if of.holding.contains(&seq) {
                State::Taken { by: worker, instance, before: 0 }
            } else {
                continue;
            };
            known.push((of.queue().clone(), state));
        }
        let outcomes = board.outcomes.of(key).filter(|(_, outcome)| outcome.silent && claims_count);
        for (queue, outcome) in outcomes {
            known.push((queue.clone(), State::Done { instance: outcome.instance }));
        }
        // After a restart the workers that have it, or have done it, come back first.
        let starts_us = again.then_some(now.mono_us + REASK_AFTER_MS * 1000);
        board.open(key, account, id, starts_us, known);
        if claims_count {
            self.send_outcomes(id, key);
        }
        // Each of them was looked at.
        self.looked_at(workers);
        Ok(reply)
    }

    /// Sends what workers have reported on a job to its sender, which may have lost it with a
    /// connection.
    fn send_outcomes(&mut self, id: SessionId, (stream, seq): JobKey) {
        let outcomes = self.asking.board.outcomes.of((stream, seq));
        let outcomes: Vec<_> = outcomes.map(|(_, outcome)| outcome.clone()).collect();
        self.looked_at(outcomes.len());
        if planted(Fault::JobOutcomeToldOnce) {
            return;
        }
        for Outcome { by, failed, silent, .. } in outcomes {
            self.send(id, Event::Answered { stream, seq, by, failed, silent });
        }
    }

    /// Sends an event about a job to its sender, at once or when the sender is back.
    fn notify_sender(&mut self, key: JobKey, event: Event) {
        if let Some(sender) = self.asking.board.reader_of(key, &event) {
            self.send(sender, event);
        }
    }

    // ---- workers -----------------------------------------------------------------------------

    /// Makes a session a worker of a room.
    pub(super) fn answer_in(
        &mut self,
        id: SessionId,
        answering: Answering,
    ) -> Result<Reply, Refusal> {
        self.may_work(id, &answering)?;
        let Answering { stream: tag, queue, jobs, holding, done } = answering;
        let instance = self.sessions[&id].instance;
        let queue = queue.map_or(Queue::Own(instance), Queue::Named);
        self.may_join_queue(id, tag, &queue)?;
        let jobs_max = jobs as usize;
        let board = &mut self.asking.board;
        let (mut holding, mut done) = (BTreeSet::from_iter(holding), BTreeSet::from_iter(done));
        let (mut lost, mut looked_at, mut known) = (Vec::new(), 0, Vec::new());
        // A worker's word counts for what an earlier boot offered. Of what this boot offered, only
        // that counts which this boot saw it take.
        let inherited = self.streams[tag].inherited;
        // The end of an earlier session of this client instance may not have been seen yet.
        let is_its = |of: &SessionId| self.sessions.get(of).is_some_and(|s| s.instance == instance);
        let own: Vec<_> =
            board.workers(tag).filter(|(of, _)| is_its(of)).map(|(_, worker)| worker).collect();
        let counts = |seq: u64, state: Option<&State>| {
            let had = own.iter().any(|worker| worker.has(seq))
                || self.instances.has_had_job(instance, (tag, seq));
            had || (state.is_none() && (1..=inherited).contains(&seq))
                || planted(Fault::ClaimsBelieved)
        };
        for (seq, job) in board.jobs_in(tag) {
            looked_at += 1;
            let state = job.state(&queue);
            let before = state.map_or(0, State::before);
            let holder = state.and_then(State::instance);
            if holder.is_some_and(|holder| holder != instance)
                || (holder.is_none() && !counts(seq, state))
            {
                lost.extend(holding.remove(&seq).then_some(seq));
                done.remove(&seq);
                continue;
            }
            let new = match state {
                Some(State::Done { .. }) => continue,
                // An offer that no other worker has claimed is taken back.
                _ if holding.contains(&seq) => State::Taken { by: id, instance, before },
                _ if done.contains(&seq) => State::Done { instance },
                Some(State::Away { .. }) => State::Waiting { before },
                Some(_) | None => continue,
            };
            known.push((seq, new));
        }
        let stays = |seq: &u64| board.job((tag, *seq)).is_some() || counts(*seq, None);
        holding.retain(stays);
        done.retain(stays);
        board.put_worker(tag, id, &queue, |worker| {
            (worker.jobs_max, worker.holding, worker.done) = (jobs_max, holding, done);
        });
        for (seq, state) in known {
            board.set_state((tag, seq), &queue, Some(state));
        }
        // Each of them was looked at.
        self.looked_at(looked_at);
        Ok(Reply::Answering { lost })
    }

    /// Checks that a session may work in a room, and that its report has its bounds.
    fn may_work(&self, id: SessionId, answering: &Answering) -> Result<(), Refusal> {
        let Answering { stream: tag, queue, jobs, holding, done } = answering;
        let (tag, session) = (*tag, &self.sessions[&id]);
        let is_room =
            self.known_stream(tag).is_some_and(|s| matches!(s.topic, StreamKind::Room { .. }));
        if !is_room || session.sub_key(tag).is_none() {
            return refuse(RefusalCode::Absent, "join the room before taking its jobs");
        }
        self.may_speak(session.peer.uid, tag)?;
        if let Some(Err(e)) = queue.as_ref().map(Label::check_new) {
            return refuse(RefusalCode::Input, e.to_string());
        }
        if !(1..=ANSWER_JOBS_MAX).contains(&(*jobs as usize)) {
            let text = format!("a worker can run 1 to {ANSWER_JOBS_MAX} jobs at once");
            return refuse(RefusalCode::Input, text);
        }
        if holding.len() > ANSWER_JOBS_MAX || done.len() > REQUESTS_DONE_KEPT_MAX {
            let max = ANSWER_JOBS_MAX + REQUESTS_DONE_KEPT_MAX;
            return refuse(RefusalCode::Input, format!("a worker can report at most {max} jobs"));
        }
        Ok(())
    }

    /// Checks that a session works for no other queue of a room, and that a new worker is within
    /// the share of its account.
    fn may_join_queue(&self, id: SessionId, tag: StreamId, queue: &Queue) -> Result<(), Refusal> {
        let board = &self.asking.board;
        if let Some(worker) = board.worker(tag, id) {
            if worker.queue() == queue {
                return Ok(());
            }
            let text = "this session already works for another queue in this room";
            return refuse(RefusalCode::Input, text);
        }
        let account = self.sessions[&id].account;
        let accounts = board.workers(tag).filter_map(|(id, _)| self.sessions.get(&id));
        let holding = Holding::of(account, accounts.map(|session| (session.account, 1)));
        let most = match self.rules.host {
            true => ANSWERERS_PER_USER_MAX.min(holding.share(ANSWERERS_PER_ROOM_MAX)),
            false => ANSWERERS_PER_ROOM_MAX - holding.others_have,
        };
        if holding.own < most {
            return Ok(());
        }
        let own = holding.own;
        let text = format!(
            "too many workers in the room ({own} of this user, limit {most}; \
             {ANSWERERS_PER_ROOM_MAX} of all users); stop an `answer`"
        );
        refuse(RefusalCode::Failed, text)
    }

    /// A worker claims a job that it was offered.
    pub(super) fn take(
        &mut self,
        id: SessionId,
        tag: StreamId,
        seq: u64,
    ) -> Result<Reply, Refusal> {
        let instance = self.sessions[&id].instance;
        let board = &mut self.asking.board;
        let queue = board.worker(tag, id).map(|worker| worker.queue().clone());
        let offered = queue.and_then(|queue| match board.job((tag, seq))?.state(&queue)? {
            State::Offered { to, before, .. } if *to == id => Some((queue, *before)),
            State::Waiting { .. }
            | State::Offered { .. }
            | State::Taken { .. }
            | State::Away { .. }
            | State::Done { .. } => None,
        });
        let Some((queue, before)) = offered else {
            return refuse(RefusalCode::Absent, "the job is no longer offered to this worker");
        };
        let taken = State::Taken { by: id, instance, before };
        board.set_state((tag, seq), &queue, Some(taken));
        board.set_worker(tag, id, |worker| worker.record(seq, false));
        Ok(Reply::Done)
    }

    /// A worker reports the outcome of a job, before its reply or in place of one.
    pub(super) fn answered(
        &mut self,
        id: SessionId,
        key: JobKey,
        failed: bool,
        silent: bool,
    ) -> Result<Reply, Refusal> {
        let (tag, seq) = key;
        let session = &self.sessions[&id];
        let instance = session.instance;
        // A session learns nothing about rooms that it is not in.
        if session.sub_key(tag).is_none() {
            return refuse(RefusalCode::Absent, "join the room before reporting on its jobs");
        }
        let board = &mut self.asking.board;
        let queue = match board.job(key) {
            Some(job) => match job.queue_of(instance) {
                Some(queue) => Some(queue),
                None => return refuse(RefusalCode::Absent, "another worker has claimed the job"),
            },
            // Its sender may be away, or come back later than the worker after a restart. Of any
            // other message there is nothing to report.
            None => board.worker(tag, id).filter(|of| of.has(seq)).map(|worker| worker.queue()),
        };
        let Some(queue) = queue.cloned() else { return Ok(Reply::Done) };
        if silent {
            board.set_worker(tag, id, |worker| worker.record(seq, true));
            board.set_state(key, &queue, Some(State::Done { instance }));
        }
        let by = (*self.sessions[&id].member).clone();
        let sender = board.sender(key);
        let outcome = Outcome { instance, by: by.clone(), failed, silent };
        let is_new = board.outcomes.put(key, queue, outcome);
        // The sender may read nothing for long: it is notified once.
        if let Some(sender) = sender
            && is_new
        {
            self.send(sender, Event::Answered { stream: tag, seq, by, failed, silent });
        }
        Ok(Reply::Done)
    }

    /// A reply to a message is committed: if that is a job of this client instance, it is done.
    pub(super) fn replied(&mut self, instance: InstanceKey, tag: StreamId, seq: u64) {
        let board = &mut self.asking.board;
        if let Some(session) = self.instances.session_of(instance) {
            board.set_worker(tag, session, |worker| worker.record(seq, true));
        }
        // Its worker may be away: the job knows it by its instance.
        let queue = board.job((tag, seq)).and_then(|job| job.queue_of(instance)).cloned();
        if let Some(queue) = queue {
            board.set_state((tag, seq), &queue, Some(State::Done { instance }));
        }
    }

    /// A session answers the server again, or no longer does.
    pub(super) fn set_worker_responsive(&mut self, id: SessionId, responsive: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        if responsive && planted(Fault::StoppedWorkerForgotten) {
            return;
        }
        for (tag, _) in &session.subs {
            self.asking.board.set_worker(*tag, id, |worker| worker.responsive = responsive);
        }
    }

    // ---- ends and times ----------------------------------------------------------------------

    /// A session left a room: the jobs that it sent there end, the jobs that it has go to other
    /// workers.
    pub(super) fn asking_parted(&mut self, id: SessionId, tag: StreamId, cause: EndCause) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (instance, member) = (session.instance, (*session.member).clone());
        // A connection may break and come back; a process that has ended does not.
        let may_come_back = match cause {
            EndCause::Closed | EndCause::Unresponsive | EndCause::Server => true,
            EndCause::Quit | EndCause::Killed | EndCause::Kicked => false,
        };
        let now_us = self.clock.turn.mono_us;
        let board = &mut self.asking.board;
        for key in board.sent_by(id, tag) {
            match may_come_back {
                true => {
                    let until_us = now_us + ASKER_AWAY_MS_MAX * 1000;
                    board.set_sender(key, Sender::Away { until_us });
                }
                false => {
                    board.remove(key);
                    board.outcomes.forget(key);
                }
            }
        }
        let stream = &self.streams[tag];
        // The reply of a worker that has ended may be on its way to the store: its commit decides.
        let is_replying = |seq| {
            let reply = |entry: &Entry| entry.from.session == id && entry.reply_to == Some(seq);
            stream.in_flight.uncommitted.iter().any(|pending| reply(&pending.entry))
        };
        if let Some(worker) = board.worker(tag, id).filter(|_| may_come_back) {
            self.instances.had_jobs(instance, worker.jobs().map(|seq| (tag, seq)));
        }
        let own = Queue::Own(instance);
        let is_own = board.worker(tag, id).is_some_and(|worker| *worker.queue() == own);
        let mut abandoned = Vec::new();
        board.remove_worker(tag, id, |seq, state| match state {
            State::Taken { .. }
                if cause == EndCause::Killed && planted(Fault::KilledWorkerKeepsJob) =>
            {
                state.clone()
            }
            State::Taken { before, .. }
                if (may_come_back && !planted(Fault::AwayWorkerNotAwaited)) || is_replying(seq) =>
            {
                let until_us = now_us + HOLDER_AWAY_MS_MAX * 1000;
                State::Away { who: Box::new(member.clone()), instance, before: *before, until_us }
            }
            State::Taken { before, .. } => {
                abandoned.push(seq);
                State::Waiting { before: before + 1 }
            }
            State::Waiting { .. }
            | State::Offered { .. }
            | State::Away { .. }
            | State::Done { .. } => State::Waiting { before: state.before() },
        });
        if is_own && !may_come_back {
            board.forget_queue(tag, &own);
        }
        for seq in abandoned {
            let by = member.clone();
            self.notify_sender((tag, seq), Event::Abandoned { stream: tag, seq, by, cause });
        }
    }

    /// A room is deleted, with its jobs and workers.
    pub(super) fn asking_room_gone(&mut self, tag: StreamId) {
        self.asking.board.remove_room(tag);
    }

    /// Applies what time changes: offers, workers and senders that are away, jobs that may start.
    pub(super) fn tick_asking(&mut self, now: Now) {
        while let Some(((stream, seq), by)) = self.asking.board.expire(now.mono_us) {
            let cause = EndCause::Closed;
            self.notify_sender((stream, seq), Event::Abandoned { stream, seq, by, cause });
        }
    }

    /// Offers jobs until no queue has both one that waits and a free worker.
    pub(super) fn offer_jobs(&mut self, now: Now) {
        if !planted(Fault::BoundNeverReleased) {
            self.asking.board.unblock();
        }
        let until_us = match planted(Fault::OfferNeverExpires) {
            true => u64::MAX,
            false => now.mono_us + OFFER_MS_MAX * 1000,
        };
        while let Some((worker, (stream, seq), before)) = self.asking.board.offer(until_us) {
            self.send(worker, Event::Offer { stream, seq, before });
        }
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]
mod tests;
