//! Letting sessions in: who may, how many unfinished handshakes, what to do without descriptors.

use std::{rc::Rc, time::Duration};

use super::{
    conn::Conn, core::Core, files::SharedListener, session_task, standing::Standing, threads::Work,
};
use crate::{
    chat::{
        hub::share,
        member::Peer,
        names::{RoomName, UserName},
        rules::Rights,
    },
    faults::{Fault, planted},
    limits::{
        ACCEPTS_PER_TURN_MAX, CONNECTING_USERS_MAX, CONNECTIONS_MIN, DESCRIPTORS_PER_CONNECTION,
        DESCRIPTORS_RESERVED, HALF_OPEN_MAX, HALF_OPEN_PER_USER_MAX, STANDING_MS,
    },
    os::{self, PeerIds, Reserve},
    session::Accepted,
    wire::{
        frame::{self, Kind},
        hello::{self, Refused, RefusedCode},
    },
};

/// Pause after a failed accept: a level-triggered loop would spin while descriptors are exhausted.
const PAUSE: Duration = Duration::from_millis(50);

/// Returns the number of connections that a limit of descriptors has room for: sessions, as many as
/// are wanted if there is room, and unfinished handshakes. Neither takes room from the other, nor
/// from what the server opens for itself.
pub(super) fn room_for(descriptors: u64, sessions_wanted: usize) -> (usize, usize) {
    if planted(Fault::SessionsBeyondDescriptors) {
        return (sessions_wanted, HALF_OPEN_MAX);
    }
    let all = descriptors.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_CONNECTION;
    let all = usize::try_from(all).unwrap_or(usize::MAX).max(CONNECTIONS_MIN);
    let half_open = HALF_OPEN_MAX.min(all / 4);
    (sessions_wanted.min(all - half_open), half_open)
}

/// Lets sessions in. The socket goes out of its place when this ends, however it ends.
pub(super) async fn accept(core: Rc<Core>, shared: Rc<SharedListener>) {
    let mut listener = shared.listener();
    let mut reserve = Reserve::open().ok();
    for turn in 1usize.. {
        if turn.is_multiple_of(ACCEPTS_PER_TURN_MAX) {
            // Those who are here already are served in between.
            tokio::task::yield_now().await;
        }
        if reserve.is_none() {
            // The first descriptor that is free goes aside: without it no caller gets an answer.
            reserve = Reserve::open().ok();
            if reserve.is_none() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.replaced.notified() => {
                // Connections that were made to the old one before it was removed are let in.
                let old = std::mem::replace(&mut listener, shared.listener());
                while let Some(Ok(socket)) = old.accept_waiting().await {
                    let_in(&core, socket);
                }
                continue;
            }
        };
        match accepted {
            Ok(socket) => let_in(&core, socket),
            Err(e) if os::is_out_of_descriptors(&e) => {
                // The caller that waits now, if there is one, gets an answer by the descriptor kept
                // aside, which is back before anything else runs. A later caller may find free
                // ones.
                drop(reserve.take());
                if let Some(Ok(socket)) = listener.accept_waiting().await {
                    core.log.warn("out of file descriptors: a connection was closed");
                    turn_away(&socket, "the server is out of file descriptors; try again later");
                }
                reserve = Reserve::open().ok();
                tokio::time::sleep(PAUSE).await;
            }
            Err(e) => {
                core.log.warn(&format!("accept: {e}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn let_in(core: &Rc<Core>, socket: Accepted) {
    match socket.peer() {
        Ok(ids) => admit(core, socket, ids),
        Err(e) => core.log.warn(&format!("a client can't be identified: {e}")),
    }
}

fn admit(core: &Rc<Core>, socket: Accepted, ids: PeerIds) {
    let own = os::own_uid();
    if !core.boot.system && ids.uid != own && ids.uid != 0 {
        return;
    }
    if core.boot.system && core.connects_too_often(ids.uid) {
        turn_away(&socket, "this user connects too often; try again in a second");
        return;
    }
    // Counted until the handshake is done, or the connection has ended without one.
    let mut half_open = core.arrivals.half_open.borrow_mut();
    let own = half_open.get(&ids.uid).copied().unwrap_or(0);
    let others = half_open.len() - usize::from(own > 0);
    let free = core.arrivals.half_open_max.saturating_sub(half_open.values().sum());
    let most = share(free, own, others + 1).clamp(1, HALF_OPEN_PER_USER_MAX);
    if free == 0 || own >= most {
        let why = match own {
            0 => "the server has too many unfinished handshakes; try again later",
            _ => "this user has too many unfinished handshakes; try again later",
        };
        let known = core.inner.borrow().hub.user_name(ids.uid);
        core.log.of_user(ids.uid, &known.unwrap_or_else(|| UserName::of_uid(ids.uid)), why);
        turn_away(&socket, why);
        return;
    }
    half_open.insert(ids.uid, own + 1);
    drop(half_open);
    let core = Rc::clone(core);
    tokio::task::spawn_local(async move {
        let turn = core.turns.look_up(ids.uid).await;
        let user = name_of(&core, ids.uid).await;
        let standing = match core.boot.system {
            true => standing(&core, ids.uid, &user).await,
            false => Standing::nameless(),
        };
        drop(turn);
        let start = os::start_of(ids.pid).unwrap_or(0);
        let peer = Peer { uid: ids.uid, user, pid: ids.pid, start };
        let conn =
            Rc::new(Conn::new(core.next_session(), socket, peer, standing, core.boot.system));
        // A task of its own: what letting in took of memory is not kept as long as the session
        // lasts.
        tokio::task::spawn_local(session_task::run(core, conn));
    });
}

/// Says why, as far as the socket takes it at once.
fn turn_away(socket: &Accepted, why: &str) {
    let refused = Refused::new(RefusedCode::Failed, why.to_owned());
    let mut bytes = Vec::new();
    frame::put(&mut bytes, Kind::Refused, |body| hello::put(body, &refused));
    socket.say_at_once(&bytes);
}

/// Returns the rights of a user on a system server, and whether it lets them in. Asked again as
/// sessions come, since people come and go in groups; of many that come at once only for the first.
pub(super) async fn standing(core: &Core, uid: u32, user: &UserName) -> Standing {
    let settings = core.settings();
    let (allow, policy) = (&settings.server.allow, &settings.policy);
    let is_named = !allow.is_empty()
        || settings.rooms.values().any(|room| !room.operators.is_empty())
        || policy.lists().iter().any(|(_, list)| !list.is_empty());
    if !is_named || uid == 0 || uid == os::own_uid() {
        return Standing::nameless();
    }
    let now_us = os::monotonic_us();
    let is_new = |at_us: &u64| now_us.saturating_sub(*at_us) < STANDING_MS * 1000;
    if let Some((_, standing)) =
        core.lookups.standings.borrow().get(&uid).filter(|(at, _)| is_new(at))
    {
        return standing.clone();
    }
    let (allow, policy, user) = (allow.clone(), policy.clone(), user.to_string());
    let rooms = settings.rooms.clone();
    let ask = move || {
        let named = |list: &[String]| {
            list.iter().any(|who| match who.strip_prefix('%') {
                Some(group) => os::is_in_group(&user, group),
                None => who.strip_prefix('@') == Some(&user),
            })
        };
        let may = |list: &[String]| list.is_empty() || named(list);
        let rights = Rights {
            operator: named(&policy.operators),
            announce: [
                may(&policy.announce_info),
                may(&policy.announce_notice),
                may(&policy.announce_warning),
                may(&policy.announce_critical),
            ],
            create_rooms: may(&policy.create_rooms),
            join: may(&policy.join),
            link: named(&policy.link),
        };
        let led = rooms.iter().filter(|(_, room)| named(&room.operators));
        let leads = led.filter_map(|(name, _)| RoomName::new(name).ok()).collect();
        Standing { admitted: rights.operator || may(&allow), rights: Some(rights), leads }
    };
    let Ok(standing) = core.threads.run(Work::LookUp, ask).await else {
        return Standing { admitted: false, ..Standing::nameless() };
    };
    let mut standings = core.lookups.standings.borrow_mut();
    if standings.len() > CONNECTING_USERS_MAX {
        standings.retain(|_, (at, _)| is_new(at));
    }
    standings.insert(uid, (now_us, standing.clone()));
    standing
}

/// Name of a user id: asked on another thread, since the user database may be far away.
async fn name_of(core: &Core, uid: u32) -> UserName {
    if let Some(name) = core.inner.borrow().hub.fresh_user_name(uid) {
        return name;
    }
    let found = core.threads.run(Work::LookUp, move || os::user_name(uid)).await;
    let name = found.ok().flatten().unwrap_or_else(|| UserName::of_uid(uid));
    core.inner.borrow_mut().hub.name_user(uid, name.clone());
    name
}

impl Core {
    /// Counts a connection. Returns true if its user has had more of them than allowed.
    fn connects_too_often(&self, uid: u32) -> bool {
        let now_us = os::monotonic_us();
        let mut connects = self.arrivals.connects.borrow_mut();
        if connects.len() > CONNECTING_USERS_MAX {
            connects.retain(|_, bucket| bucket.is_empty(now_us));
        }
        let bucket = connects.entry(uid).or_default();
        if bucket.is_empty(now_us) {
            return true;
        }
        bucket.take(now_us, 1, self.settings().limits.connections_per_second_per_user);
        false
    }

    /// One unfinished handshake less.
    pub(super) fn settle_half_open(&self, uid: u32) {
        let mut half_open = self.arrivals.half_open.borrow_mut();
        if let Some(of_user) = half_open.get_mut(&uid) {
            *of_user -= 1;
            if *of_user == 0 {
                half_open.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_server_its_own_descriptors() {
        assert_eq!(room_for(u64::MAX, 16_384), (16_384, HALF_OPEN_MAX));
        assert_eq!(room_for(0, 16_384), (6, 2), "a few in any case");
        for descriptors in 80..70_000 {
            let (sessions, half_open) = room_for(descriptors, 16_384);
            let connections = (sessions + half_open) as u64;
            assert!(half_open >= 2 && connections >= CONNECTIONS_MIN as u64);
            assert!(connections * DESCRIPTORS_PER_CONNECTION + DESCRIPTORS_RESERVED <= descriptors);
        }
        assert_eq!(room_for(1024, 100).0, 100, "not more than are wanted");
    }
}
