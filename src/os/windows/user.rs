//! Users: each has a security identifier; inside the program it is a number, made from it.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::security::{SYSTEM, account_name, account_sid, own_user};
use crate::chat::names::UserName;

/// Identifier of each number that was given out.
static KNOWN: Mutex<Option<HashMap<u32, String>>> = Mutex::new(None);

/// The number of an identifier: 0 for the system itself, who may do what root may; for others 31
/// bits of a hash (FNV-1a). Two users of one host with the same number are told apart by refusing
/// the second.
///
/// # Errors
/// If another user has the same number.
pub(super) fn uid_of(sid: &str) -> io::Result<u32> {
    if sid == SYSTEM {
        return Ok(0);
    }
    let hash = sid
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let uid = (hash & 0x7fff_ffff).max(1);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let of = known.get_or_insert_default().entry(uid).or_insert_with(|| sid.to_owned());
    if of != sid {
        return Err(io::Error::other(format!("the users {of} and {sid} have the same number")));
    }
    Ok(uid)
}

/// The identifier that a number stands for, if this process has met it.
pub(super) fn sid_of(uid: u32) -> Option<String> {
    if uid == 0 {
        return Some(SYSTEM.to_owned());
    }
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.as_ref()?.get(&uid).cloned()
}

/// The number of the user that this process acts as.
#[must_use]
pub fn own_uid() -> u32 {
    static OWN: OnceLock<u32> = OnceLock::new();
    // A process always has a token; if it could not be read, no user is trusted.
    *OWN.get_or_init(|| own_user().and_then(|sid| uid_of(&sid)).unwrap_or(u32::MAX))
}

/// Name of a user, as it is written in targets: without spaces.
#[must_use]
pub fn user_name(uid: u32) -> Option<UserName> {
    let name = account_name(&sid_of(uid)?)?;
    UserName::local(&name.replace(char::is_whitespace, "_")).ok()
}

/// Number of a user's name, or of `#1000`.
#[must_use]
pub fn user_id(name: &str) -> Option<u32> {
    if let Some(number) = name.strip_prefix('#') {
        let uid: u32 = number.parse().ok()?;
        return (uid.to_string() == number && user_name(uid).is_none()).then_some(uid);
    }
    let sid = account_sid(name).or_else(|| account_sid(&name.replace('_', " ")))?;
    uid_of(&sid).ok()
}

/// Id of a group: there is none here.
#[must_use]
pub fn group_id(_name: &str) -> Option<u32> {
    None
}

/// Returns true if the system knows a group of this name: not asked here.
#[must_use]
pub fn is_group(_name: &str) -> bool {
    true
}

/// Returns true if a user belongs to a local group, by name.
#[must_use]
pub fn is_in_group(user: &str, group: &str) -> bool {
    use windows_sys::Win32::NetworkManagement::NetManagement::{
        LG_INCLUDE_INDIRECT, LOCALGROUP_USERS_INFO_0, MAX_PREFERRED_LENGTH, NetApiBufferFree,
        NetUserGetLocalGroups,
    };
    let name = super::security::wide(user);
    let (mut buffer, mut read, mut total) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: the name ends with a zero; results are written to variables of ours.
    let done = unsafe {
        NetUserGetLocalGroups(
            std::ptr::null(),
            name.as_ptr(),
            0,
            LG_INCLUDE_INDIRECT,
            &raw mut buffer,
            MAX_PREFERRED_LENGTH,
            &raw mut read,
            &raw mut total,
        )
    };
    if done != 0 || buffer.is_null() {
        return false;
    }
    let mut found = false;
    let groups: *const LOCALGROUP_USERS_INFO_0 = buffer.cast();
    // SAFETY: the buffer holds `read` of these, aligned.
    let groups = unsafe { std::slice::from_raw_parts(groups, read as usize) };
    for LOCALGROUP_USERS_INFO_0 { lgrui0_name: of } in groups {
        // SAFETY: it is a text of the system, which ends with a zero.
        let of = unsafe { super::security::text_of(*of) };
        found |= of.eq_ignore_ascii_case(group);
    }
    // SAFETY: the system allocated it for us, and wants it freed like this.
    unsafe { NetApiBufferFree(buffer.cast()) };
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_users_belong_together() {
        let own = own_uid();
        assert!(own != u32::MAX && own != 0);
        let name = user_name(own).unwrap();
        assert_eq!(user_id(name.as_str()), Some(own));
        assert_eq!(user_id("nobody that there is"), None);
        assert_eq!(uid_of(SYSTEM).unwrap(), 0);
        assert_eq!(uid_of("S-1-5-21-1-2-3-1001").unwrap(), uid_of("S-1-5-21-1-2-3-1001").unwrap());
    }
}
