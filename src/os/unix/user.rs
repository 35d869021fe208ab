//! The user database: names of user ids and groups. Slow or far away at times: not for the hub's
//! thread.

use nix::unistd::{Group, Uid, User, geteuid};

use crate::chat::names::UserName;

/// The user id that this process acts as.
#[must_use]
pub fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// Name of a user id; none if it has none, or one that could not be shown.
#[must_use]
pub fn user_name(uid: u32) -> Option<UserName> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    UserName::local(&user.name).ok()
}

/// User id of a name, or of `#1000`.
#[must_use]
pub fn user_id(name: &str) -> Option<u32> {
    if let Some(number) = name.strip_prefix('#') {
        // In the form that we write, and only if no better name exists.
        let uid: u32 = number.parse().ok()?;
        return (uid.to_string() == number && user_name(uid).is_none()).then_some(uid);
    }
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// Home directory of the user that this process acts as, from the user database.
pub(super) fn home() -> Option<std::path::PathBuf> {
    User::from_uid(geteuid()).ok().flatten().map(|user| user.dir)
}

/// Id of a group; none if the system knows no group of this name.
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// Returns true if the system knows a group of this name.
#[must_use]
pub fn is_group(name: &str) -> bool {
    group_id(name).is_some()
}

/// Returns true if a user belongs to a group, by name.
#[must_use]
pub fn is_in_group(user: &str, group: &str) -> bool {
    let Some(group) = Group::from_name(group).ok().flatten() else { return false };
    let Some(user) = User::from_name(user).ok().flatten() else { return false };
    user.gid == group.gid || group.mem.contains(&user.name) || is_member(&user, &group)
}

/// By whatever else the system knows of groups (nested ones, a directory service).
#[cfg(not(target_vendor = "apple"))]
fn is_member(user: &User, group: &Group) -> bool {
    let Ok(name) = std::ffi::CString::new(user.name.as_str()) else { return false };
    nix::unistd::getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group.gid))
}

#[cfg(target_vendor = "apple")]
fn is_member(_user: &User, _group: &Group) -> bool {
    false
}
