//! Security identifiers and descriptors: whose something is, and who may use it.

use std::{
    ffi::c_void,
    io,
    os::windows::{
        ffi::OsStrExt,
        io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    },
    path::Path,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_SUCCESS, LocalFree},
    Security::{
        ACCESS_ALLOWED_ACE, ACE_HEADER, ACL,
        Authorization::{
            ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
            ConvertStringSidToSidW, GetNamedSecurityInfoW, GetSecurityInfo, SDDL_REVISION_1,
            SE_FILE_OBJECT, SE_KERNEL_OBJECT,
        },
        DACL_SECURITY_INFORMATION, GetAce, GetTokenInformation, LookupAccountNameW,
        LookupAccountSidW, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, RevertToSelf,
        SECURITY_ATTRIBUTES, SidTypeUser, TOKEN_QUERY, TOKEN_USER, TokenUser,
    },
    Storage::FileSystem::{
        DELETE, FILE_APPEND_DATA, FILE_DELETE_CHILD, FILE_WRITE_DATA, WRITE_DAC, WRITE_OWNER,
    },
    System::{
        Pipes::ImpersonateNamedPipeClient,
        SystemServices::ACCESS_ALLOWED_ACE_TYPE,
        Threading::{GetCurrentProcess, GetCurrentThread, OpenProcessToken, OpenThreadToken},
    },
};

/// The system's own account.
pub(super) const SYSTEM: &str = "S-1-5-18";
/// The group of administrators: what they make may belong to it.
const ADMINISTRATORS: &str = "S-1-5-32-544";

/// Returns true if a system server may belong to this owner.
pub(super) fn is_of_host(owner: &str) -> bool {
    [SYSTEM, ADMINISTRATORS].contains(&owner)
}

/// A text for the system: UTF-16 with a final zero.
pub(super) fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// A text of the system, up to its final zero.
///
/// # Safety
/// `text` has to end with a zero.
pub(super) unsafe fn text_of(text: *const u16) -> String {
    let mut len = 0;
    loop {
        // SAFETY: there is a final zero at this place or behind it.
        let at = unsafe { text.add(len) };
        // SAFETY: up to the final zero everything may be read.
        if unsafe { *at } == 0 {
            break;
        }
        len += 1;
    }
    // SAFETY: `len` units were just read.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, len) })
}

/// Memory that the system allocated for us.
struct Local(*mut c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: it was allocated by a function whose result is to be freed like this, and once.
        unsafe { LocalFree(self.0) };
    }
}

/// The text of a security identifier.
///
/// # Safety
/// `sid` has to point to one.
unsafe fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: the caller's word for `sid`; the result is written to a pointer of ours.
    if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let _freed = Local(text.cast());
    // SAFETY: the system's texts end with a zero.
    Ok(unsafe { text_of(text) })
}

fn user_of_token(token: &OwnedHandle) -> io::Result<String> {
    // Enough for the longest identifier, aligned as the structure wants it.
    let mut buffer = [0u64; 32];
    let (mut used, bytes) = (0, size_of_val(&buffer) as u32);
    let to = buffer.as_mut_ptr().cast();
    // SAFETY: it writes at most `bytes` to the buffer.
    let done =
        unsafe { GetTokenInformation(token.as_raw_handle(), TokenUser, to, bytes, &raw mut used) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: for this class it writes a `TOKEN_USER`; the buffer is aligned for it and large
    // enough.
    let sid = unsafe { (*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid };
    // SAFETY: it points to an identifier in the buffer.
    unsafe { sid_text(sid) }
}

/// Returns the owner of a pipe's instance: no user can make one in the name of another.
pub(super) fn owner_of_pipe(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    let (mut owner, mut descriptor) = (null_mut(), null_mut());
    // SAFETY: the handle is open as long as it is borrowed; results are written to pointers of
    // ours.
    let done = unsafe {
        GetSecurityInfo(
            pipe.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut descriptor,
        )
    };
    if done != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(done.cast_signed()));
    }
    let _freed = Local(descriptor);
    // SAFETY: it points into the descriptor, which is alive.
    unsafe { sid_text(owner) }
}

/// The client of a pipe's instance, as the system noted it when the pipe was opened: no process has
/// to be asked, which could have ended since, and whose number could be another's by now.
pub(super) fn user_of_client(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    // SAFETY: the handle is open as long as it is borrowed. From here to the call that ends it this
    // thread acts as the client, as far as to be asked who that is.
    if unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut token = null_mut();
    // SAFETY: it gives a constant that stands for this thread.
    let thread = unsafe { GetCurrentThread() };
    // SAFETY: opened as this process itself; the result is written to a pointer of ours.
    let opened = unsafe { OpenThreadToken(thread, TOKEN_QUERY, 1, &raw mut token) };
    let failed = io::Error::last_os_error();
    // SAFETY: it takes nothing. A thread that goes on acting as another user must not go on at all.
    if unsafe { RevertToSelf() } == 0 {
        std::process::abort();
    }
    if opened == 0 {
        return Err(failed);
    }
    // SAFETY: the system just gave us this handle, and no other code knows it.
    user_of_token(&unsafe { OwnedHandle::from_raw_handle(token) })
}

/// The user that this process acts as.
pub(super) fn own_user() -> io::Result<String> {
    // SAFETY: it gives a constant that stands for this process and need not be closed.
    let process = unsafe { GetCurrentProcess() };
    let mut token = null_mut();
    // SAFETY: the result is written to a pointer of ours.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just gave us this handle, and no other code knows it.
    user_of_token(&unsafe { OwnedHandle::from_raw_handle(token) })
}

/// Name of an account.
pub(super) fn account_name(sid: &str) -> Option<String> {
    let mut binary = null_mut();
    let text = wide(sid);
    // SAFETY: the text ends with a zero; the result is written to a pointer of ours.
    if unsafe { ConvertStringSidToSidW(text.as_ptr(), &raw mut binary) } == 0 {
        return None;
    }
    let sid = Local(binary);
    let (mut name, mut domain) = ([0u16; 256], [0u16; 256]);
    let (mut name_len, mut domain_len, mut kind) = (256, 256, 0);
    // SAFETY: the identifier is alive; both buffers have the lengths that are given.
    let found = unsafe {
        LookupAccountSidW(
            null(),
            sid.0,
            name.as_mut_ptr(),
            &raw mut name_len,
            domain.as_mut_ptr(),
            &raw mut domain_len,
            &raw mut kind,
        )
    };
    (found != 0).then(|| String::from_utf16_lossy(&name[..name_len as usize]))
}

/// Identifier of an account's name.
pub(super) fn account_sid(name: &str) -> Option<String> {
    let text = wide(name);
    let mut sid = vec![0u64; 16];
    let mut domain = vec![0u16; 256];
    let (mut sid_bytes, mut domain_len, mut kind) = (128, 256, 0);
    // SAFETY: the name ends with a zero; both buffers have the lengths that are given.
    let found = unsafe {
        LookupAccountNameW(
            null(),
            text.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_bytes,
            domain.as_mut_ptr(),
            &raw mut domain_len,
            &raw mut kind,
        )
    };
    if found == 0 {
        debug_assert_ne!(
            io::Error::last_os_error().raw_os_error(),
            Some(ERROR_INSUFFICIENT_BUFFER as i32)
        );
        return None;
    }
    if kind != SidTypeUser {
        return None;
    }
    // SAFETY: the buffer holds an identifier now.
    unsafe { sid_text(sid.as_mut_ptr().cast()) }.ok()
}

/// Owner of a file, and rights of others than the owner, the system and administrators.
pub(super) struct FileSecurity {
    pub(super) owner: String,
    pub(super) others_write: bool,
    /// Others may take it away, or change who may do what.
    pub(super) others_take: bool,
}

/// Looks at a file's owner and access list.
pub(super) fn of_file(path: &Path) -> io::Result<FileSecurity> {
    let name = wide(path);
    let (mut owner, mut dacl, mut descriptor) = (null_mut(), null_mut(), null_mut());
    let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    // SAFETY: the name ends with a zero; results are written to pointers of ours.
    let done = unsafe {
        GetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            what,
            &raw mut owner,
            null_mut(),
            &raw mut dacl,
            null_mut(),
            &raw mut descriptor,
        )
    };
    if done != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(done.cast_signed()));
    }
    let _freed = Local(descriptor);
    // SAFETY: it points into the descriptor, which is alive.
    let owner = unsafe { sid_text(owner) }?;
    let own = own_user()?;
    let trusted = [owner.as_str(), own.as_str(), SYSTEM, ADMINISTRATORS, "S-1-3-0"];
    // SAFETY: as above; no list at all means that every user may do everything.
    let allowed = if dacl.is_null() { u32::MAX } else { unsafe { others_may(dacl, &trusted) }? };
    let others_take = allowed & TAKES != 0;
    Ok(FileSecurity { owner, others_write: allowed & (WRITES | TAKES) != 0, others_take })
}

/// `GENERIC_ALL` and `GENERIC_WRITE` among them.
const WRITES: u32 = FILE_WRITE_DATA | FILE_APPEND_DATA | 0x5000_0000;
/// `GENERIC_ALL` among them.
const TAKES: u32 = FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER | 0x1000_0000;

/// Returns the rights that a list gives to users who are not trusted.
///
/// # Safety
/// `acl` has to point to an access control list.
unsafe fn others_may(acl: *const ACL, trusted: &[&str]) -> io::Result<u32> {
    /// Does not apply to the object itself.
    const INHERIT_ONLY: u8 = 8;
    /// Allow something under conditions, or to parts: for us, to every user. Compound, object,
    /// callback, callback object.
    const OTHER_ALLOWING: [u32; 4] = [4, 5, 9, 11];
    let mut allowed = 0;
    // SAFETY: the caller's word.
    let count = unsafe { (*acl).AceCount };
    for at in 0..u32::from(count) {
        let mut ace = null_mut();
        // SAFETY: `at` is below the number of entries; the result is written to a pointer of ours.
        if unsafe { GetAce(acl, at, &raw mut ace) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: each entry begins with such a header.
        let header = unsafe { *ace.cast::<ACE_HEADER>() };
        let kind = u32::from(header.AceType);
        let other = OTHER_ALLOWING.contains(&kind);
        if !(kind == ACCESS_ALLOWED_ACE_TYPE || other) || header.AceFlags & INHERIT_ONLY != 0 {
            continue;
        }
        let entry = ace.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: the mask is behind the header in all of these.
        let mask = unsafe { (*entry).Mask };
        if other {
            allowed |= mask;
            continue;
        }
        // SAFETY: an entry of this type has this layout; its identifier begins where this field is.
        let sid = unsafe { &raw mut (*entry).SidStart };
        // SAFETY: the entry holds a whole identifier.
        let sid = unsafe { sid_text(sid.cast()) }?;
        if !trusted.contains(&sid.as_str()) {
            allowed |= mask;
        }
    }
    Ok(allowed)
}

/// Access rights of something that is about to be made.
pub(super) struct Descriptor {
    memory: Local,
}

impl Descriptor {
    /// From its text form.
    pub(super) fn of(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl);
        let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
        // SAFETY: the text ends with a zero; the result is written to a pointer of ours.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { memory: Local(descriptor) })
    }

    /// For files: this user and the system everything, every other user nothing, or only reading.
    pub(super) fn of_file(everybody_reads: bool) -> io::Result<Self> {
        Self::of(&file_sddl(everybody_reads)?)
    }

    /// For a mailslot: this user, the system and administrators.
    pub(super) fn of_slot() -> io::Result<Self> {
        Self::of(&format!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{})", own_user()?))
    }

    /// To be handed to the system while `self` lives.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.memory.0,
            bInheritHandle: 0,
        }
    }
}

/// Returns the owner of new things: this user; for a system server the administrators, whom other
/// users can't name. It is named outright, since things that an administrator makes would else
/// belong to one or the other.
pub(super) fn owner(of_host: bool) -> io::Result<String> {
    let own = own_user()?;
    Ok(if of_host && own != SYSTEM { ADMINISTRATORS.to_owned() } else { own })
}

/// Others may read the thing itself, not what is made in it later (a database's side files).
fn file_sddl(everybody_reads: bool) -> io::Result<String> {
    let others = if everybody_reads { "(A;;GRGX;;;AU)" } else { "" };
    let (owner, own) = (owner(everybody_reads)?, own_user()?);
    Ok(format!("O:{owner}D:P(A;OICI;GA;;;SY)(A;OICI;GA;;;{owner})(A;OICI;GA;;;{own}){others}"))
}

/// Rights of a client at a pipe: reading and writing, but not making another instance of it.
pub(super) const PIPE_CLIENT_RIGHTS: u32 = 0x0012_019b;
