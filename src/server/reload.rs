//! The configuration is read again while the server runs (SIGHUP to a system server).

use std::rc::Rc;

use super::{accept, core::Core, standing::Standing, stop::Stop};
use crate::{
    chat::{
        hub::HubConfig,
        rules::{Policy, Rights},
    },
    config::Settings,
    os,
};

/// Reads it again each time that is asked for.
pub(super) async fn reloads(core: Rc<Core>, stop: &Stop, rules: impl Fn(&Settings) -> HubConfig) {
    let started = core.settings();
    loop {
        stop.reload_asked().await;
        let new = match stop.load() {
            None => continue,
            Some(Ok(new)) => new,
            Some(Err(e)) => {
                core.log.warn(&format!("the configuration was not reloaded: {e}"));
                continue;
            }
        };
        let fixed = started.fixed_differences(&new);
        core.log.always("the configuration was reloaded");
        if !fixed.is_empty() {
            core.log.warn(&format!("settings that change at the next start: {}", fixed.join(", ")));
        }
        core.inner.borrow_mut().hub.change_rules(&rules(&new));
        core.set_settings(new);
        core.look_up_admitted().await;
        core.log_unknown_names();
        apply_policy(&core).await;
    }
}

/// Applies the policy to the users who are connected.
async fn apply_policy(core: &Rc<Core>) {
    let mut users: Vec<_> = {
        let inner = core.inner.borrow();
        inner.conns.values().map(|conn| (conn.uid(), conn.user().clone())).collect()
    };
    users.sort_by_key(|(uid, _)| *uid);
    users.dedup_by_key(|(uid, _)| *uid);
    for (uid, user) in users {
        if uid == 0 || uid == os::own_uid() {
            continue;
        }
        let Standing { admitted, rights, leads } = accept::standing(core, uid, &user).await;
        let inner = &mut *core.inner.borrow_mut();
        inner.hub.set_rights(uid, rights.unwrap_or(Rights::EVERYBODY));
        inner.hub.set_configured_leads(uid, &leads);
        if !admitted {
            for conn in inner.conns.values().filter(|conn| conn.uid() == uid) {
                conn.turn_out("the server no longer admits this user");
            }
        }
    }
}

/// The policy of the hub.
pub(super) fn policy(settings: &Settings) -> Policy {
    let own = &settings.policy;
    let announce = [
        own.announce_info.clone(),
        own.announce_notice.clone(),
        own.announce_warning.clone(),
        own.announce_critical.clone(),
    ];
    Policy { announce, create_rooms: own.create_rooms.clone(), join: own.join.clone() }
}
