//! The broadcast channel: mailslots. One way, no sender, no bound: a hint path, sealed as
//! everywhere.
//!
//! A mailslot's name exists once, so each member has one of its own, under a random name that it
//! tells the server on its session, and the server writes to each that keeps up. Who may write to
//! it is kept by its access list.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::ControlFlow,
    os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
    ptr::{null, null_mut},
    sync::atomic::{AtomicBool, Ordering},
};

use windows_sys::Win32::{
    Foundation::{ERROR_IO_PENDING, GENERIC_WRITE, INVALID_HANDLE_VALUE},
    Storage::FileSystem::{
        CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING,
        ReadFile, WriteFile,
    },
    System::{
        IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED},
        Mailslots::CreateMailslotW,
        Threading::{CreateEventW, INFINITE},
    },
};

use super::{
    files::hex,
    reserve::Reserve,
    security::{Descriptor, wide},
};
use crate::{
    limits::DATAGRAM_BYTES_MAX,
    os::{
        random::random_bytes,
        shared::{ChannelFault, Slot},
    },
};

/// Name of this platform's broadcast channel in JSON.
pub const BROADCAST_WORD: &str = "mailslot";
/// Bytes that a member grants: a mailslot has no bound of its own, so this may be under way to it.
const GRANTED_BYTES: u64 = 4 * 1024 * 1024;

fn path_of(slot: &Slot) -> Vec<u16> {
    wide(format!(r"\\.\mailslot\moot\{}", hex(slot)))
}

fn owned(handle: *mut std::ffi::c_void) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the callers just got this handle from the system, and no other code knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// The writing end of somebody's mailslot.
#[derive(Debug)]
struct Writer {
    slot: OwnedHandle,
    event: OwnedHandle,
}

impl Writer {
    fn open(slot: &Slot) -> io::Result<Self> {
        let name = path_of(slot);
        // SAFETY: the name ends with a zero; no attributes, no template.
        let slot = owned(unsafe {
            CreateFileW(
                name.as_ptr(),
                GENERIC_WRITE,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED,
                null_mut(),
            )
        })?;
        // SAFETY: no attributes, no name.
        let event = owned(unsafe { CreateEventW(null(), 1, 0, null()) })?;
        Ok(Self { slot, event })
    }

    /// Writes a datagram, or drops it if that would have to wait.
    fn write(&self, datagram: &[u8]) -> io::Result<()> {
        let slot = self.slot.as_raw_handle();
        let mut at = OVERLAPPED { hEvent: self.event.as_raw_handle(), ..OVERLAPPED::default() };
        let bytes = u32::try_from(datagram.len()).map_err(io::Error::other)?;
        // SAFETY: this function does not return before the system is done with `at` and the
        // datagram.
        let done = unsafe { WriteFile(slot, datagram.as_ptr(), bytes, null_mut(), &raw mut at) };
        if done != 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        if e.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
            return Err(e);
        }
        // SAFETY: it names what was begun above. It may be done by now: then nothing happens.
        unsafe { CancelIoEx(slot, &raw const at) };
        let mut written = 0;
        // SAFETY: waits until the system is done with it, which it is once it is cancelled.
        match unsafe { GetOverlappedResult(slot, &raw const at, &raw mut written, 1) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// The server's end.
#[derive(Debug)]
pub struct Caster {
    slots: HashMap<u64, (Slot, Writer)>,
}

impl Caster {
    /// Opens the channel.
    ///
    /// # Errors
    /// None on this platform.
    pub fn open(_place: Reserve) -> io::Result<Self> {
        Ok(Self { slots: HashMap::new() })
    }

    /// Returns 0: this platform has no ports.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        0
    }

    /// Returns a placeholder: without groups every stream has the same address, which says nothing.
    ///
    /// # Errors
    /// None on this platform.
    pub fn open_group(&mut self, _tag: u32) -> io::Result<SocketAddrV4> {
        Ok(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))
    }

    /// Does nothing: this platform has no groups.
    pub fn close_group(&mut self, _tag: u32) {}

    /// A session hears by this mailslot.
    pub fn set_slot(&mut self, session: u64, slot: Slot) {
        if self.slots.get(&session).is_some_and(|(known, _)| *known == slot) {
            return;
        }
        // A slot belongs to one session, so that no session can have another one's filled.
        if self.slots.values().any(|(known, _)| *known == slot) {
            return;
        }
        // One that can't be opened is heard of by what does not arrive.
        match Writer::open(&slot) {
            Ok(writer) => self.slots.insert(session, (slot, writer)),
            Err(_) => self.slots.remove(&session),
        };
    }

    /// A session has ended.
    pub fn remove_slot(&mut self, session: u64) {
        self.slots.remove(&session);
    }

    /// Writes a datagram to each of those who hear a stream; it waits for none of them.
    ///
    /// # Errors
    /// None: what one of them misses is repaired by session.
    pub fn send(
        &mut self,
        _tag: u32,
        datagram: &[u8],
        hearers: impl FnOnce() -> Vec<u64>,
    ) -> io::Result<()> {
        for session in hearers() {
            if let Some((_, writer)) = self.slots.get(&session) {
                let _ = writer.write(datagram);
            }
        }
        Ok(())
    }
}

/// A member's end: one mailslot for all its streams.
#[derive(Debug)]
pub struct Hearing {
    slot: Slot,
    reader: OwnedHandle,
    /// To its own slot, so that the thread that reads can be woken.
    waker: Writer,
    ended: AtomicBool,
}

impl Hearing {
    /// Hears nothing yet.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn open() -> io::Result<Self> {
        let slot: Slot = random_bytes()?;
        let name = path_of(&slot);
        let descriptor = Descriptor::of_slot()?;
        let attributes = descriptor.attributes();
        // SAFETY: the name ends with a zero; attributes and what they point to live through the
        // call.
        let reader = owned(unsafe {
            CreateMailslotW(
                name.as_ptr(),
                DATAGRAM_BYTES_MAX as u32,
                INFINITE,
                &raw const attributes,
            )
        })?;
        let waker = Writer::open(&slot)?;
        Ok(Self { slot, reader, waker, ended: AtomicBool::new(false) })
    }

    /// Name of the mailslot that the server is to write to.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Returns the bytes that may be under way to it.
    #[must_use]
    pub fn granted_bytes(&self) -> u64 {
        GRANTED_BYTES
    }

    /// Ends it; [`Hearing::run`] returns.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.waker.write(b".");
    }

    /// Takes datagrams as they come, until [`Hearing::end`] or `take` says so.
    pub fn run(&self, buffer: &mut [u8], mut take: impl FnMut(&mut [u8]) -> ControlFlow<()>) {
        let bytes_max = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        while !self.ended.load(Ordering::SeqCst) {
            let mut bytes = 0;
            // SAFETY: it writes at most `bytes_max` bytes to the buffer, and is over when it
            // returns.
            let done = unsafe {
                ReadFile(
                    self.reader.as_raw_handle(),
                    buffer.as_mut_ptr(),
                    bytes_max,
                    &raw mut bytes,
                    null_mut(),
                )
            };
            if done == 0 {
                return;
            }
            if take(&mut buffer[..bytes as usize]).is_break() {
                return;
            }
        }
    }
}

/// Tries the channel on this machine: what is written arrives.
///
/// # Errors
/// If the channel does not work; the error names the fault.
pub fn self_test() -> Result<(), ChannelFault> {
    let hearing = Hearing::open()?;
    let mut caster = Caster { slots: HashMap::new() };
    caster.set_slot(1, hearing.slot());
    caster.send(0, b"true", || vec![1])?;
    hearing.end();
    let mut arrived = false;
    // The last datagram wakes it at the latest, so it does not wait forever.
    hearing.ended.store(false, Ordering::SeqCst);
    let mut buffer = [0; 64];
    hearing.run(&mut buffer, |datagram| {
        arrived |= datagram == b"true";
        ControlFlow::Break(())
    });
    if arrived { Ok(()) } else { Err(ChannelFault::Silent) }
}
