//! Requests that want a reply: who answers in a room, who has taken which, and what becomes of it when one ends.
//!
//! A request is an ordinary message whose sender says that it is one. The answerers of a queue take it
//! one at a time: the hub offers it, and only who takes the offer works on it, so that a process that
//! is stopped holds nothing up. It is done once the holder has replied. A holder that ends before that
//! is told to the asker, and the request is offered to another one. Answerers without a queue answer
//! each for themselves.
//!
//! All of this is in memory. After a restart of the server the askers ask once more and the answerers
//! say what they hold and what they have done: nothing is offered until they had time for that.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::{Hub, Now, instances::InstanceKey, quota::AccountId, request::refuse, stream::Topic};
use crate::{
    chat::{
        member::{EndCause, Member, SessionId, State},
        names::Label,
        verbs::{Answering, Event, Refusal, RefusalCode, Reply, StreamTag},
    },
    limits::{
        ANSWER_JOBS_MAX, ANSWERERS_PER_ROOM_MAX, ASKER_AWAY_MS_MAX, HOLDER_AWAY_MS_MAX,
        OFFER_MS_MAX, REASK_AFTER_MS, REQUEST_GROUPS_MAX, REQUEST_GROUPS_PER_USER_MAX,
        REQUESTS_DONE_KEPT_MAX, REQUESTS_MAX, REQUESTS_PER_USER_MAX,
    },
};

/// Who shares the requests of a room: one of each such takes a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// An answerer for itself, over its reconnects.
    Own(InstanceKey),
    /// All answerers of a queue.
    Queue(Label),
}

/// How far a group is with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It waits for one that is free; so many had it before.
    Waiting { before: u32 },
    /// It is offered to one that is free.
    Offered { to: SessionId, before: u32, until_us: u64 },
    /// One works on it.
    Taken { by: SessionId, instance: InstanceKey, before: u32 },
    /// The connection of who works on it broke; it may come back.
    Away { who: Box<Member>, instance: InstanceKey, before: u32, until_us: u64 },
    /// It has its reply, of this one.
    Done { instance: InstanceKey },
}

/// A request that somebody waits for.
#[derive(Debug)]
struct Open {
    account: AccountId,
    /// None while the asker's connection is broken.
    session: Option<SessionId>,
    /// How long it is kept without the asker.
    kept_until_us: u64,
    /// Not offered before.
    not_before_us: u64,
    /// What the asker is told once he is back.
    untold: Vec<Event>,
    groups: BTreeMap<Group, Standing>,
}

#[derive(Debug)]
struct Answerer {
    session: SessionId,
    group: Group,
    jobs: usize,
    /// What it works on and what it has done of requests that the hub has not heard of yet.
    holding: Vec<u64>,
    done: Vec<u64>,
    /// How requests went that nobody has asked again yet: number, failed, silent.
    ended: Vec<(u64, bool, bool)>,
    /// When it was last offered something, so that all have their turn.
    offered: u64,
}

/// What the requests of an account are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    requests: usize,
    /// Queues, and answerers without one, that these were offered to.
    groups: usize,
}

/// All requests and answerers.
#[derive(Debug, Default)]
pub(super) struct Asking {
    open: BTreeMap<(StreamTag, u64), Open>,
    of_account: FxHashMap<AccountId, Load>,
    answerers: BTreeMap<StreamTag, Vec<Answerer>>,
    /// Rooms where something may be offered now.
    due: BTreeSet<StreamTag>,
    offers: u64,
    /// Groups of all requests together.
    groups: usize,
}

impl Asking {
    /// Whether time alone changes anything.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    fn in_room(&mut self, tag: StreamTag) -> impl Iterator<Item = (u64, &mut Open)> {
        let of_room = self.open.range_mut((tag, 0)..=(tag, u64::MAX));
        of_room.map(|((_, seq), open)| (*seq, open))
    }

    fn remove(&mut self, tag: StreamTag, seq: u64) {
        let Some(open) = self.open.remove(&(tag, seq)) else { return };
        self.count_groups(open.account, open.groups.len(), 0);
        if let Some(load) = self.of_account.get_mut(&open.account) {
            load.requests -= 1;
            if *load == Load::default() {
                self.of_account.remove(&open.account);
            }
        }
    }

    /// The groups of an account's requests are others now.
    fn count_groups(&mut self, account: AccountId, fewer: usize, more: usize) {
        self.groups = self.groups + more - fewer;
        if let Some(load) = self.of_account.get_mut(&account) {
            load.groups = load.groups + more - fewer;
        }
    }

    /// Whether a request of an account may be offered to one group more.
    fn may_grow(&self, account: AccountId) -> bool {
        let of_account = self.of_account.get(&account).map_or(0, |load| load.groups);
        self.groups < REQUEST_GROUPS_MAX && of_account < REQUEST_GROUPS_PER_USER_MAX
    }

    /// An answerer works on a request, or has done so.
    fn note(&mut self, id: SessionId, tag: StreamTag, seq: u64, is_done: bool) {
        let of_room = self.answerers.get_mut(&tag);
        let answerer = of_room.and_then(|all| all.iter_mut().find(|a| a.session == id));
        let Some(answerer) = answerer else { return };
        answerer.holding.retain(|of| *of != seq);
        let (list, most) = match is_done {
            true => (&mut answerer.done, REQUESTS_DONE_KEPT_MAX),
            false => (&mut answerer.holding, ANSWER_JOBS_MAX),
        };
        list.retain(|of| *of != seq);
        if list.len() >= most {
            list.remove(0);
        }
        list.push(seq);
    }

    /// What the answerers of a room said of a request before it was known.
    fn known_of(
        &self,
        tag: StreamTag,
        seq: u64,
        sessions: &Sessions<'_>,
    ) -> BTreeMap<Group, Standing> {
        let mut groups = BTreeMap::new();
        for answerer in self.answerers.get(&tag).into_iter().flatten() {
            let Some(instance) = sessions(answerer.session) else { continue };
            let standing = if answerer.done.contains(&seq) {
                Standing::Done { instance }
            } else if answerer.holding.contains(&seq) {
                Standing::Taken { by: answerer.session, instance, before: 0 }
            } else {
                continue;
            };
            groups.insert(answerer.group.clone(), standing);
        }
        groups
    }
}

/// What an asker who is away is told later, at most.
const UNTOLD_MAX: usize = 64;

/// The client instance of a session.
type Sessions<'a> = dyn Fn(SessionId) -> Option<InstanceKey> + 'a;

impl Hub {
    /// A session waits for replies to what it said; `again`: it did so before the connection broke.
    pub(super) fn ask_for(
        &mut self,
        now: Now,
        id: SessionId,
        counter: u64,
        again: bool,
    ) -> Result<Reply, Refusal> {
        let session = &self.sessions[&id];
        let (asker, account) = (session.instance, session.account);
        let Some((tag, seq)) = self.instances.submitted(asker, counter) else {
            let text = "the request is not known to this run of the server; ask again";
            return refuse(RefusalCode::UnknownSubmit, text);
        };
        if !matches!(self.stream(tag).topic, Topic::Room { .. }) {
            return refuse(RefusalCode::Input, "requests are taken by answerers in rooms only");
        }
        if session.sub_key(tag).is_none() {
            return refuse(RefusalCode::Input, "who asks has to listen to the room");
        }
        let answerers = self.asking.answerers.get(&tag).map_or(0, Vec::len);
        let reply = Reply::Asked { answerers: u32::try_from(answerers).unwrap_or(u32::MAX) };
        if let Some(open) = self.asking.open.get_mut(&(tag, seq)) {
            open.session = Some(id);
            for event in std::mem::take(&mut open.untold) {
                self.send(id, event);
            }
            return Ok(reply);
        }
        let load = self.asking.of_account.get(&account).copied().unwrap_or_default();
        let is_full =
            self.asking.open.len() >= REQUESTS_MAX || load.requests >= REQUESTS_PER_USER_MAX;
        if is_full || !self.asking.may_grow(account) {
            let requests = load.requests;
            let text =
                format!("{requests} requests of this user wait for replies, and no more may");
            return refuse(RefusalCode::Failed, text);
        }
        let instance_of = |id| self.sessions.get(&id).map(|session| session.instance);
        let groups = self.asking.known_of(tag, seq, &instance_of);
        // After a restart those who work on it, or have done so, come back first.
        let not_before_us = if again { now.mono_us + REASK_AFTER_MS * 1000 } else { 0 };
        let untold = Vec::new();
        let session = Some(id);
        let open = Open { account, session, kept_until_us: 0, not_before_us, untold, groups };
        self.asking.of_account.entry(account).or_default().requests += 1;
        self.asking.count_groups(account, 0, open.groups.len());
        self.asking.open.insert((tag, seq), open);
        self.asking.due.insert(tag);
        self.tell_ended(id, tag, seq);
        Ok(reply)
    }

    /// Tells an asker that is back how its request went before the server knew of it.
    fn tell_ended(&mut self, asker: SessionId, tag: StreamTag, seq: u64) {
        let mut told = Vec::new();
        for answerer in self.asking.answerers.get_mut(&tag).into_iter().flatten() {
            let Some(at) = answerer.ended.iter().position(|(of, ..)| *of == seq) else { continue };
            let (_, failed, silent) = answerer.ended.swap_remove(at);
            told.push((answerer.session, failed, silent));
        }
        for (session, failed, silent) in told {
            let Some(by) = self.sessions.get(&session).map(|s| (*s.member).clone()) else {
                continue;
            };
            self.send(asker, Event::Answered { stream: tag, seq, by, failed, silent });
        }
    }

    /// A session answers requests of a room from now on.
    pub(super) fn answer_in(
        &mut self,
        id: SessionId,
        answering: Answering,
    ) -> Result<Reply, Refusal> {
        let Answering { stream: tag, queue, jobs, holding, done } = answering;
        let session = &self.sessions[&id];
        let (uid, instance) = (session.peer.uid, session.instance);
        let is_room = self.known_stream(tag).is_some_and(|s| matches!(s.topic, Topic::Room { .. }));
        if !is_room || session.sub_key(tag).is_none() {
            return refuse(RefusalCode::Absent, "this session does not listen to that room");
        }
        self.may_speak(uid, tag)?;
        let jobs = jobs as usize;
        if !(1..=ANSWER_JOBS_MAX).contains(&jobs) {
            let text = format!("an answerer works on 1 to {ANSWER_JOBS_MAX} requests at a time");
            return refuse(RefusalCode::Input, text);
        }
        if holding.len() > ANSWER_JOBS_MAX || done.len() > REQUESTS_DONE_KEPT_MAX {
            return refuse(RefusalCode::Input, "that is more than an answerer can have done");
        }
        let group = queue.map_or(Group::Own(instance), Group::Queue);
        let answerers = self.asking.answerers.entry(tag).or_default();
        if answerers.iter().any(|one| one.session == id && one.group != group) {
            return refuse(RefusalCode::Input, "a session answers in a room under one name");
        }
        answerers.retain(|answerer| answerer.session != id);
        if answerers.len() >= ANSWERERS_PER_ROOM_MAX {
            let text = format!("a room has at most {ANSWERERS_PER_ROOM_MAX} answerers");
            return refuse(RefusalCode::Failed, text);
        }
        let (mut lost, mut looked_at, mut grown) = (Vec::new(), 0, Vec::new());
        let (mut left, loads) =
            (REQUEST_GROUPS_MAX.saturating_sub(self.asking.groups), self.asking.of_account.clone());
        for (seq, open) in self.asking.in_room(tag) {
            looked_at += 1;
            let held = holding.contains(&seq);
            let standing = open.groups.get(&group);
            let new = match standing {
                Some(
                    Standing::Done { instance: of }
                    | Standing::Taken { instance: of, .. }
                    | Standing::Away { instance: of, .. },
                ) if held && *of != instance => {
                    lost.push(seq);
                    continue;
                }
                Some(Standing::Done { .. }) => continue,
                // An offer that another one has not taken is taken back.
                _ if held => {
                    Standing::Taken { by: id, instance, before: standing.map_or(0, before) }
                }
                _ if done.contains(&seq) => Standing::Done { instance },
                Some(Standing::Away { instance: of, before, .. }) if *of == instance => {
                    Standing::Waiting { before: *before }
                }
                _ => continue,
            };
            let of_account = loads.get(&open.account).map_or(0, |load| load.groups);
            if standing.is_none() && (left == 0 || of_account >= REQUEST_GROUPS_PER_USER_MAX) {
                continue;
            }
            if open.groups.insert(group.clone(), new).is_none() {
                left -= 1;
                grown.push(open.account);
            }
        }
        for account in grown {
            self.asking.count_groups(account, 0, 1);
        }
        // Each of them was looked at.
        self.charge_told(id, looked_at);
        let ended = Vec::new();
        let answerer = Answerer { session: id, group, jobs, holding, done, ended, offered: 0 };
        self.asking.answerers.entry(tag).or_default().push(answerer);
        self.asking.due.insert(tag);
        Ok(Reply::Answering { lost })
    }

    /// An answerer takes what it was offered.
    pub(super) fn take(
        &mut self,
        id: SessionId,
        tag: StreamTag,
        seq: u64,
    ) -> Result<Reply, Refusal> {
        let instance = self.sessions[&id].instance;
        let open = self.asking.open.get_mut(&(tag, seq));
        let offered = open
            .into_iter()
            .flat_map(|open| open.groups.values_mut())
            .find(|standing| matches!(standing, Standing::Offered { to, .. } if *to == id));
        let Some(standing) = offered else {
            return refuse(RefusalCode::Absent, "the request is no longer to be taken");
        };
        *standing = Standing::Taken { by: id, instance, before: before(standing) };
        self.asking.note(id, tag, seq, false);
        Ok(Reply::Done)
    }

    /// An answerer tells the asker how it went, before or in place of its reply.
    pub(super) fn answered(
        &mut self,
        id: SessionId,
        (tag, seq): (StreamTag, u64),
        failed: bool,
        silent: bool,
    ) -> Result<Reply, Refusal> {
        let instance = self.sessions[&id].instance;
        let by = (*self.sessions[&id].member).clone();
        let Some(open) = self.asking.open.get_mut(&(tag, seq)) else {
            let of_room = self.asking.answerers.get_mut(&tag);
            let answerer = of_room.and_then(|all| all.iter_mut().find(|a| a.session == id));
            if let Some(answerer) = answerer.filter(|a| a.ended.len() < ANSWER_JOBS_MAX) {
                answerer.ended.push((seq, failed, silent));
            }
            if silent {
                self.asking.note(id, tag, seq, true);
            }
            return Ok(Reply::Done);
        };
        let Some(standing) = open.groups.values_mut().find(|s| is_of(s, instance)) else {
            return refuse(RefusalCode::Absent, "the request is another one's by now");
        };
        if silent {
            *standing = Standing::Done { instance };
            self.asking.due.insert(tag);
        }
        let event = Event::Answered { stream: tag, seq, by, failed, silent };
        if let Some((asker, event)) = now_or_later(open.session, &mut open.untold, event) {
            self.send(asker, event);
        }
        if silent {
            self.asking.note(id, tag, seq, true);
        }
        Ok(Reply::Done)
    }

    /// A session replied to a message: if it is a request that it holds, that is done.
    pub(super) fn replied(&mut self, id: SessionId, tag: StreamTag, seq: u64) {
        if self.asking.answerers.is_empty() && self.asking.open.is_empty() {
            return;
        }
        let Some(instance) = self.sessions.get(&id).map(|session| session.instance) else { return };
        self.asking.note(id, tag, seq, true);
        let Some(open) = self.asking.open.get_mut(&(tag, seq)) else { return };
        // Over a break too: what it said before comes again before it says what it works on.
        if let Some(standing) = open.groups.values_mut().find(|s| is_of(s, instance)) {
            *standing = Standing::Done { instance };
            self.asking.due.insert(tag);
        }
    }

    /// A session listens to a room no more: what it asked there ends, what it holds goes to others.
    pub(super) fn asking_parted(&mut self, id: SessionId, tag: StreamTag, cause: EndCause) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (instance, member) = (session.instance, (*session.member).clone());
        // A connection may break and come back; a process that has ended does not.
        let may_come_back = match cause {
            EndCause::Closed | EndCause::Unresponsive | EndCause::Server => true,
            EndCause::Quit | EndCause::Killed | EndCause::Kicked => false,
        };
        let now_us = self.last_tick_us;
        let asking = &mut self.asking;
        let mut gone = None;
        if let Some(answerers) = asking.answerers.get_mut(&tag) {
            let at = answerers.iter().position(|answerer| answerer.session == id);
            let group = at.map(|at| answerers.swap_remove(at).group);
            gone = group.filter(|of| answerers.iter().all(|other| other.group != *of));
            if answerers.is_empty() {
                asking.answerers.remove(&tag);
            }
        }
        let (mut over, mut told, mut shrunk) = (Vec::new(), Vec::new(), Vec::new());
        for (seq, open) in asking.in_room(tag) {
            if open.session == Some(id) {
                open.session = None;
                open.kept_until_us = now_us + ASKER_AWAY_MS_MAX * 1000;
                if !may_come_back {
                    over.push(seq);
                    continue;
                }
            }
            for standing in open.groups.values_mut() {
                match standing {
                    Standing::Offered { to, before, .. } if *to == id => {
                        *standing = Standing::Waiting { before: *before };
                    }
                    Standing::Taken { by, before, .. } if *by == id && may_come_back => {
                        let until_us = now_us + HOLDER_AWAY_MS_MAX * 1000;
                        let who = Box::new(member.clone());
                        *standing = Standing::Away { who, instance, before: *before, until_us };
                    }
                    Standing::Taken { by, before, .. } if *by == id => {
                        *standing = Standing::Waiting { before: *before + 1 };
                        let by = member.clone();
                        let event = Event::Abandoned { stream: tag, seq, by, cause };
                        told.extend(now_or_later(open.session, &mut open.untold, event));
                    }
                    Standing::Waiting { .. }
                    | Standing::Offered { .. }
                    | Standing::Taken { .. }
                    | Standing::Away { .. }
                    | Standing::Done { .. } => {}
                }
            }
            // Nobody else answers for it; of a queue that nobody answers for any more nothing is known.
            let before = open.groups.len();
            if !may_come_back {
                open.groups.remove(&Group::Own(instance));
            }
            if let Some(group) = &gone
                && matches!(open.groups.get(group), Some(Standing::Waiting { before: 0 }))
            {
                open.groups.remove(group);
            }
            shrunk.push((open.account, before - open.groups.len()));
        }
        for (account, fewer) in shrunk {
            asking.count_groups(account, fewer, 0);
        }
        for seq in over {
            asking.remove(tag, seq);
        }
        asking.due.insert(tag);
        for (asker, event) in told {
            self.send(asker, event);
        }
    }

    /// A room is deleted: nobody waits for anything there any more.
    pub(super) fn asking_room_gone(&mut self, tag: StreamTag) {
        let all: Vec<u64> = self.asking.in_room(tag).map(|(seq, _)| seq).collect();
        for seq in all {
            self.asking.remove(tag, seq);
        }
        self.asking.answerers.remove(&tag);
    }

    /// What time changes: offers that nobody took, holders and askers that did not come back.
    pub(super) fn tick_asking(&mut self, now: Now) {
        if self.asking.is_idle() {
            return;
        }
        let (mut over, mut told) = (Vec::new(), Vec::new());
        for ((tag, seq), open) in &mut self.asking.open {
            if open.session.is_none() && open.kept_until_us <= now.mono_us {
                over.push((*tag, *seq));
                continue;
            }
            if open.not_before_us != 0 && open.not_before_us <= now.mono_us {
                open.not_before_us = 0;
                self.asking.due.insert(*tag);
            }
            for standing in open.groups.values_mut() {
                match standing {
                    Standing::Offered { before, until_us, .. } if *until_us <= now.mono_us => {
                        *standing = Standing::Waiting { before: *before };
                    }
                    Standing::Away { who, before, until_us, .. } if *until_us <= now.mono_us => {
                        let (stream, seq, by) = (*tag, *seq, (**who).clone());
                        let event = Event::Abandoned { stream, seq, by, cause: EndCause::Closed };
                        told.extend(now_or_later(open.session, &mut open.untold, event));
                        *standing = Standing::Waiting { before: *before + 1 };
                    }
                    Standing::Waiting { .. }
                    | Standing::Offered { .. }
                    | Standing::Taken { .. }
                    | Standing::Away { .. }
                    | Standing::Done { .. } => continue,
                }
                self.asking.due.insert(*tag);
            }
        }
        for (tag, seq) in over {
            self.asking.remove(tag, seq);
        }
        for (asker, event) in told {
            self.send(asker, event);
        }
    }

    /// Offers what waits to those who are free.
    pub(super) fn offer_requests(&mut self, now: Now) {
        for tag in std::mem::take(&mut self.asking.due) {
            self.offer_in(now, tag);
        }
    }

    fn offer_in(&mut self, now: Now, tag: StreamTag) {
        let Some(answerers) = self.asking.answerers.get(&tag) else { return };
        let responsive = |id: &SessionId| {
            let session = self.sessions.get(id);
            session.is_some_and(|session| self.state_of(session) != State::Unresponsive)
        };
        let mut free: BTreeMap<Group, Vec<Free>> = BTreeMap::new();
        let mut busy: FxHashMap<SessionId, usize> = FxHashMap::default();
        let of_room = self.asking.open.range((tag, 0)..=(tag, u64::MAX));
        for standing in of_room.flat_map(|(_, open)| open.groups.values()) {
            if let Standing::Offered { to: by, .. } | Standing::Taken { by, .. } = standing {
                *busy.entry(*by).or_default() += 1;
            }
        }
        for answerer in answerers.iter().filter(|answerer| responsive(&answerer.session)) {
            let has = busy.get(&answerer.session).copied().unwrap_or(0);
            if has < answerer.jobs {
                let (session, offered) = (answerer.session, answerer.offered);
                let one = Free { has, offered, session, jobs: answerer.jobs };
                free.entry(answerer.group.clone()).or_default().push(one);
            }
        }
        let mut offers = Vec::new();
        let mut left = REQUEST_GROUPS_MAX.saturating_sub(self.asking.groups);
        let mut grown = 0;
        let mut loads = std::mem::take(&mut self.asking.of_account);
        for (seq, open) in self.asking.in_room(tag) {
            if free.is_empty() {
                break;
            }
            if open.not_before_us > now.mono_us {
                continue;
            }
            let mut used_up = Vec::new();
            let load = loads.entry(open.account).or_default();
            for (group, ones) in &mut free {
                let before = match open.groups.get(group) {
                    None if left == 0 || load.groups >= REQUEST_GROUPS_PER_USER_MAX => continue,
                    None => 0,
                    Some(Standing::Waiting { before }) => *before,
                    Some(_) => continue,
                };
                // The one with the least to do; of those the one that has waited longest.
                let Some(at) = (0..ones.len()).min_by_key(|at| (ones[*at].has, ones[*at].offered))
                else {
                    continue;
                };
                let one = &mut ones[at];
                one.has += 1;
                one.offered = u64::MAX;
                let until_us = now.mono_us + OFFER_MS_MAX * 1000;
                let standing = Standing::Offered { to: one.session, before, until_us };
                if open.groups.insert(group.clone(), standing).is_none() {
                    left -= 1;
                    grown += 1;
                    load.groups += 1;
                }
                offers.push((one.session, seq, before));
                if one.has >= one.jobs {
                    ones.swap_remove(at);
                }
                if ones.is_empty() {
                    used_up.push(group.clone());
                }
            }
            for group in used_up {
                free.remove(&group);
            }
        }
        self.asking.of_account = loads;
        self.asking.groups += grown;
        for (session, seq, before) in offers {
            self.asking.offers += 1;
            let turn = self.asking.offers;
            let all = self.asking.answerers.get_mut(&tag).into_iter().flatten();
            for answerer in all.filter(|answerer| answerer.session == session) {
                answerer.offered = turn;
            }
            self.send(session, Event::Offer { stream: tag, seq, before });
        }
    }
}

/// An answerer that could take something.
struct Free {
    has: usize,
    offered: u64,
    session: SessionId,
    jobs: usize,
}

/// Whether a client instance has it, or has done it.
fn is_of(standing: &Standing, instance: InstanceKey) -> bool {
    match standing {
        Standing::Taken { instance: of, .. }
        | Standing::Away { instance: of, .. }
        | Standing::Done { instance: of } => *of == instance,
        Standing::Waiting { .. } | Standing::Offered { .. } => false,
    }
}

/// What is to be sent to an asker; kept for him while his connection is broken.
fn now_or_later(
    asker: Option<SessionId>,
    untold: &mut Vec<Event>,
    event: Event,
) -> Option<(SessionId, Event)> {
    if asker.is_none() && untold.len() < UNTOLD_MAX {
        untold.push(event.clone());
    }
    asker.map(|asker| (asker, event))
}

/// How many had it before.
fn before(standing: &Standing) -> u32 {
    match standing {
        Standing::Waiting { before }
        | Standing::Offered { before, .. }
        | Standing::Taken { before, .. }
        | Standing::Away { before, .. } => *before,
        Standing::Done { .. } => 0,
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]
mod tests {
    use super::*;
    use crate::{
        chat::{
            hub::{Action, Frame, Hello, Line, Rules, Submit, SubmitTo},
            member::{Kind, Peer},
            message::RunId,
            names::{RoomName, UserName},
            verbs::{Begin, Follow, Request},
        },
        limits::{FRAME_HEADER_BYTES, REQUESTS_PER_USER_MAX},
    };

    /// A hub with a room, in which sessions are; each a process of its own.
    struct Room {
        hub: Hub,
        tag: StreamTag,
        now: Now,
        said: u64,
    }

    impl Room {
        fn new(sessions: u64) -> Self {
            let hub = Hub::new(Rules::new(RunId(1), 0, |_| [0; FRAME_HEADER_BYTES]));
            let now = Now { mono_us: 1_000_000, wall_us: 1 };
            let mut room = Self { hub, tag: StreamTag(0), now, said: 0 };
            room.hub.tick(now);
            for number in 1..=sessions {
                room.enter(number, number as u8);
            }
            room
        }

        fn enter(&mut self, number: u64, instance: u8) {
            let user = UserName::new("ann").unwrap();
            let peer = Peer { uid: 1, user, pid: u32::from(instance), start: 0 };
            let hello = Hello { label: None, kind: Kind::Script, instance: [instance; 16] };
            self.hub.open(self.now, SessionId(number), peer, hello).unwrap();
            let follow = Follow::Room(RoomName::new("dev").unwrap());
            let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
            let Ok(Reply::Joined(infos)) = self.request(number, join) else { panic!() };
            self.tag = infos[0].tag;
        }

        fn events(&mut self) -> Vec<(u64, Event)> {
            self.hub.end_turn(self.now);
            let told = self.hub.actions().filter_map(|action| match action {
                Action::Send(to, Frame::Event(event)) => Some((to.0, event)),
                _ => None,
            });
            told.collect()
        }

        fn request(&mut self, id: u64, request: Request) -> Result<Reply, Refusal> {
            self.hub.request(self.now, SessionId(id), 7, request);
            let is_reply =
                |action: &Action| matches!(action, Action::Send(_, Frame::Reply { serial: 7, .. }));
            // What else is to be done stays for `events`.
            let at = self.hub.out.iter().position(is_reply).unwrap();
            match self.hub.out.remove(at) {
                Action::Send(_, Frame::Reply { result, .. }) => result,
                _ => unreachable!(),
            }
        }

        fn say(&mut self, id: u64, reply_to: Option<u64>) -> u64 {
            self.said += 1;
            let submit = Submit {
                first: self.said,
                to: SubmitTo::Stream(self.tag),
                to_label: None,
                lines: vec![Line { reply_to, text: "x" }],
            };
            self.hub.submit(self.now, SessionId(id), &submit);
            self.said
        }

        /// Session 1 asks; gives the number of the request, which is its counter here.
        fn ask(&mut self, again: bool) -> u64 {
            let counter = if again { self.said } else { self.say(1, None) };
            self.request(1, Request::Ask { counter, again }).unwrap();
            counter
        }

        fn answer(
            &mut self,
            id: u64,
            queue: Option<&str>,
            holding: &[u64],
            done: &[u64],
        ) -> Vec<u64> {
            let answering = Answering {
                stream: self.tag,
                queue: queue.map(|q| Label::new(q).unwrap()),
                jobs: 1,
                holding: holding.to_vec(),
                done: done.to_vec(),
            };
            match self.request(id, Request::Answer(answering)).unwrap() {
                Reply::Answering { lost } => lost,
                other => panic!("{other:?}"),
            }
        }

        /// Who is offered what, and how many had it before.
        fn offers(&mut self) -> Vec<(u64, u64, u32)> {
            let offers = self.events().into_iter().filter_map(|(to, event)| match event {
                Event::Offer { seq, before, .. } => Some((to, seq, before)),
                _ => None,
            });
            offers.collect()
        }

        fn take(&mut self, id: u64, seq: u64) -> bool {
            self.request(id, Request::Take { stream: self.tag, seq }).is_ok()
        }

        fn after_ms(&mut self, ms: u64) {
            self.now.mono_us += ms * 1000;
            for id in self.hub.sessions.keys().copied().collect::<Vec<_>>() {
                self.hub.heard(self.now, id);
            }
            self.hub.tick(self.now);
        }

        fn close(&mut self, id: u64, cause: EndCause) {
            self.hub.close(self.now, SessionId(id), cause);
            let groups = self.hub.asking.open.values().map(|open| open.groups.len()).sum::<usize>();
            assert_eq!(self.hub.asking.groups, groups);
        }
    }

    #[test]
    fn one_of_a_queue_takes_each_request_and_each_answers_without_one() {
        let mut room = Room::new(5);
        room.answer(2, Some("q"), &[], &[]);
        room.answer(3, Some("q"), &[], &[]);
        room.answer(4, None, &[], &[]);
        room.answer(5, None, &[], &[]);
        let first = room.ask(false);
        let mut offers = room.offers();
        offers.sort_unstable();
        assert_eq!(offers, [(2, first, 0), (4, first, 0), (5, first, 0)]);
        let second = room.ask(false);
        assert_eq!(room.offers(), [(3, second, 0)], "the others have their hands full");
        assert!(room.take(2, first) && room.take(3, second) && !room.take(3, first));
        room.say(2, Some(first));
        assert_eq!(room.offers(), [], "there is nothing that nobody has");
        let third = room.ask(false);
        assert_eq!(room.offers(), [(2, third, 0)]);
    }

    #[test]
    fn all_of_a_queue_have_their_turn() {
        let mut room = Room::new(4);
        for id in 2..=4 {
            room.answer(id, Some("q"), &[], &[]);
        }
        let mut served = Vec::new();
        for _ in 0..6 {
            let seq = room.ask(false);
            let offers = room.offers();
            let [(to, of, 0)] = offers[..] else { panic!("{offers:?}") };
            assert!(of == seq && room.take(to, seq));
            room.say(to, Some(seq));
            served.push(to);
        }
        served.sort_unstable();
        assert_eq!(served, [2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn an_offer_that_is_not_taken_goes_to_another_one() {
        let mut room = Room::new(3);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        assert_eq!(room.offers(), [(2, seq, 0)]);
        room.answer(3, Some("q"), &[], &[]);
        assert_eq!(room.offers(), []);
        room.after_ms(OFFER_MS_MAX);
        // The first was offered something last: now it is the other one's turn.
        assert_eq!(room.offers(), [(3, seq, 0)]);
        assert!(!room.take(2, seq), "too late");
        assert!(room.take(3, seq));
        room.after_ms(60_000);
        assert_eq!(room.offers(), [], "who has taken it has all the time");
    }

    #[test]
    fn when_a_holder_ends_another_one_gets_it_and_the_asker_is_told() {
        let mut room = Room::new(3);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        room.offers();
        room.take(2, seq);
        room.answer(3, Some("q"), &[], &[]);
        room.close(2, EndCause::Killed);
        let events = room.events();
        let abandoned = |e: &Event| matches!(e, Event::Abandoned { seq: of, cause: EndCause::Killed, .. } if *of == seq);
        assert!(events.iter().any(|(to, e)| *to == 1 && abandoned(e)), "{events:?}");
        let offered =
            |e: &Event| matches!(e, Event::Offer { seq: of, before: 1, .. } if *of == seq);
        assert!(events.iter().any(|(to, e)| *to == 3 && offered(e)), "{events:?}");
    }

    #[test]
    fn a_broken_connection_is_waited_for() {
        let mut room = Room::new(3);
        room.answer(2, Some("q"), &[], &[]);
        room.answer(3, Some("q"), &[], &[]);
        let seq = room.ask(false);
        assert_eq!(room.offers(), [(2, seq, 0)]);
        room.take(2, seq);
        room.close(2, EndCause::Closed);
        assert_eq!(room.offers(), []);
        room.enter(12, 2);
        assert!(room.answer(12, Some("q"), &[seq], &[]).is_empty());
        room.after_ms(HOLDER_AWAY_MS_MAX * 2);
        assert_eq!(room.offers(), [], "it has it again");
        // Once more, and it does not come back in time: then it is another one's.
        room.close(12, EndCause::Closed);
        room.after_ms(HOLDER_AWAY_MS_MAX);
        assert_eq!(room.offers(), [(3, seq, 1)]);
        assert!(room.take(3, seq));
        room.enter(22, 2);
        assert_eq!(room.answer(22, Some("q"), &[seq], &[]), [seq]);
    }

    #[test]
    fn what_was_not_confirmed_before_the_break_is_offered_again() {
        let mut room = Room::new(2);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        room.offers();
        room.take(2, seq);
        room.close(2, EndCause::Closed);
        room.enter(12, 2);
        room.answer(12, Some("q"), &[], &[]);
        assert_eq!(room.offers(), [(12, seq, 0)], "it never began");
    }

    #[test]
    fn a_reply_that_comes_again_after_a_break_is_the_reply() {
        let mut room = Room::new(3);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        room.offers();
        room.take(2, seq);
        room.close(2, EndCause::Closed);
        room.enter(12, 2);
        // It is submitted before anything else is said.
        room.say(12, Some(seq));
        assert!(room.answer(12, Some("q"), &[], &[seq]).is_empty());
        room.answer(3, Some("q"), &[], &[]);
        room.after_ms(HOLDER_AWAY_MS_MAX * 2);
        assert_eq!(room.offers(), []);
        let next = room.ask(false);
        assert_eq!(room.offers().len(), 1, "{next} has both of them free");
        // Also where the server knew nothing of the request: it is asked again.
        let mut room = Room::new(2);
        let seq = room.say(1, None);
        room.say(2, Some(seq));
        room.answer(2, Some("q"), &[], &[seq]);
        room.request(1, Request::Ask { counter: seq, again: true }).unwrap();
        room.after_ms(REASK_AFTER_MS);
        assert_eq!(room.offers(), []);
    }

    #[test]
    fn what_an_asker_missed_during_a_break_is_told_when_it_is_back() {
        let mut room = Room::new(2);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        room.offers();
        room.take(2, seq);
        room.close(1, EndCause::Closed);
        let answered = Request::Answered { stream: room.tag, seq, failed: true, silent: true };
        room.request(2, answered).unwrap();
        room.events();
        room.enter(11, 1);
        room.request(11, Request::Ask { counter: seq, again: true }).unwrap();
        let told = room.events();
        let is_told = |e: &Event| matches!(e, Event::Answered { failed: true, silent: true, .. });
        assert!(told.iter().any(|(to, e)| *to == 11 && is_told(e)), "{told:?}");
    }

    #[test]
    fn nobody_answers_under_name_after_name() {
        let mut room = Room::new(3);
        room.answer(2, Some("q"), &[], &[]);
        let other = Answering {
            stream: room.tag,
            queue: Some(Label::new("r").unwrap()),
            jobs: 1,
            holding: Vec::new(),
            done: Vec::new(),
        };
        assert!(room.request(2, Request::Answer(other)).is_err());
        // Of a queue that nobody has answered for, and nobody is left to, nothing is kept.
        room.ask(false);
        assert_eq!(room.offers().len(), 1);
        room.close(2, EndCause::Quit);
        assert_eq!(room.hub.asking.groups, 0);
    }

    #[test]
    fn after_a_restart_what_is_held_or_done_is_not_offered() {
        let mut room = Room::new(4);
        let seq = room.say(1, None);
        room.answer(2, Some("held"), &[seq], &[]);
        room.answer(3, Some("done"), &[], &[seq]);
        room.ask(true);
        assert_eq!(room.offers(), [], "those who know of it may still come");
        room.answer(4, Some("new"), &[], &[]);
        assert_eq!(room.offers(), []);
        room.after_ms(REASK_AFTER_MS);
        assert_eq!(room.offers(), [(4, seq, 0)]);
        room.say(2, Some(seq));
        assert_eq!(room.offers(), []);
    }

    #[test]
    fn a_request_ends_with_its_asker() {
        let mut room = Room::new(3);
        let first = room.ask(false);
        room.close(1, EndCause::Closed);
        room.after_ms(ASKER_AWAY_MS_MAX - 1);
        room.answer(2, Some("q"), &[], &[]);
        assert_eq!(room.offers(), [(2, first, 0)]);
        assert!(room.take(2, first));
        room.after_ms(1);
        assert!(room.hub.asking.is_idle());
        room.say(2, Some(first));
        room.enter(11, 1);
        room.said = 0;
        let own = room.said + 10;
        assert!(room.request(11, Request::Ask { counter: own, again: false }).is_err());
        for cause in [EndCause::Quit, EndCause::Killed, EndCause::Kicked] {
            let mut room = Room::new(2);
            room.ask(false);
            room.close(1, cause);
            assert!(room.hub.asking.is_idle(), "{cause:?}");
            assert!(room.hub.asking.of_account.is_empty());
        }
    }

    #[test]
    fn nobody_makes_a_request_of_what_others_said_or_answers_where_he_is_not() {
        let mut room = Room::new(2);
        let counter = room.say(1, None);
        assert!(room.request(2, Request::Ask { counter, again: false }).is_err());
        room.request(2, Request::Part { stream: room.tag, forget: false }).unwrap();
        let answering = Answering {
            stream: room.tag,
            queue: None,
            jobs: 1,
            holding: Vec::new(),
            done: Vec::new(),
        };
        assert!(room.request(2, Request::Answer(answering.clone())).is_err());
        let nowhere = Answering { stream: StreamTag(99), ..answering.clone() };
        assert!(room.request(1, Request::Answer(nowhere)).is_err());
        let none = Answering { jobs: 0, ..answering };
        assert!(room.request(1, Request::Answer(none)).is_err());
    }

    #[test]
    fn an_account_has_so_many_requests_and_no_more() {
        let mut room = Room::new(2);
        for _ in 0..REQUESTS_PER_USER_MAX {
            room.ask(false);
        }
        let counter = room.say(1, None);
        let refused = room.request(1, Request::Ask { counter, again: false }).unwrap_err();
        assert_eq!(refused.code, RefusalCode::Failed);
        room.close(1, EndCause::Quit);
        assert!(room.hub.asking.is_idle());
    }

    #[test]
    fn what_is_known_already_may_go_over_the_bound_of_groups_and_is_counted_right() {
        let mut room = Room::new(3);
        let seq = room.say(1, None);
        room.hub.asking.groups = REQUEST_GROUPS_MAX - 1;
        room.answer(2, Some("a"), &[], &[seq]);
        room.answer(3, Some("b"), &[], &[seq]);
        room.request(1, Request::Ask { counter: seq, again: true }).unwrap();
        assert_eq!(room.hub.asking.groups, REQUEST_GROUPS_MAX + 1);
        room.offers();
        room.hub.close(room.now, SessionId(1), EndCause::Quit);
        assert_eq!(room.hub.asking.groups, REQUEST_GROUPS_MAX - 1);
    }

    #[test]
    fn who_says_that_he_has_nothing_to_say_is_done() {
        let mut room = Room::new(3);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        room.offers();
        let answered = Request::Answered { stream: room.tag, seq, failed: true, silent: true };
        assert!(room.request(3, answered.clone()).is_err(), "another one's");
        assert!(room.request(2, answered.clone()).is_err(), "not taken");
        room.take(2, seq);
        room.request(2, answered).unwrap();
        let told = room.events();
        let is_told = |e: &Event| matches!(e, Event::Answered { failed: true, silent: true, .. });
        assert!(told.iter().any(|(to, e)| *to == 1 && is_told(e)), "{told:?}");
        let next = room.ask(false);
        assert_eq!(room.offers(), [(2, next, 0)]);
    }
}
