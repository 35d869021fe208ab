//! The broadcast channel's sockets: UDP multicast on the loopback interface, closed to forgers by
//! the kernel.
//!
//! The source binds the *wildcard* address, without address reuse, and is never connected: any
//! other bind lets another process take the same address and port by one of four ways
//! ([`forgeries`]). A member binds group and port, connects to the source, and only then joins on
//! 127.0.0.1, so that the kernel drops datagrams of all other senders before they reach its buffer,
//! from the first on. This is tried on the machine itself, each time a server starts
//! ([`self_test`]).

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::reserve::Reserve;
use crate::os::{
    random::random_bytes,
    shared::{ChannelFault, Slot},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

/// Name of this platform's broadcast channel in JSON.
pub const BROADCAST_WORD: &str = "multicast";
/// Send buffer that the server asks for; the kernel grants the part that its limits allow.
const SEND_BUFFER_BYTES_WISH: usize = 4 * 1024 * 1024;
/// Receive buffer that a member asks for; the kernel doubles it, and half of that is under way to
/// it at most: enough that members which take turns are not without work. Anything above waits
/// there longer (`docs/performance.md`, *What was tried*).
const RECEIVE_BUFFER_BYTES_WISH: usize = 1024 * 1024;
/// Time that the self-test waits for a datagram that should come.
const SELF_TEST_WAIT: Duration = Duration::from_millis(200);

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn udp() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn v4(addr: &socket2::SockAddr) -> io::Result<SocketAddrV4> {
    addr.as_socket_ipv4().ok_or_else(|| io::Error::other("not an IPv4 address"))
}

/// A socket that multicasts on the loopback interface only, and never leaves the host.
fn sends_on_loopback(socket: &Socket) -> io::Result<()> {
    socket.set_multicast_if_v4(&LOOPBACK)?;
    socket.set_multicast_ttl_v4(0)?;
    socket.set_multicast_loop_v4(true)
}

/// Drops whatever comes before it is queued: the socket is only for sending or for holding a name.
#[cfg(target_os = "linux")]
fn drop_all(socket: &Socket) -> io::Result<()> {
    // One instruction of classic BPF: return 0, keep no byte.
    socket.attach_filter(&[socket2::SockFilter::new(0x06, 0, 0, 0)])
}

#[cfg(not(target_os = "linux"))]
fn drop_all(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// Takes a port of IPv6, so that no other process has it; none on a host without IPv6.
fn hold_ipv6(port: u16) -> io::Result<Option<Socket>> {
    let Ok(socket) = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)) else {
        return Ok(None);
    };
    socket.set_only_v6(true)?;
    drop_all(&socket)?;
    match socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into()) {
        Ok(()) => Ok(Some(socket)),
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => Ok(None),
        Err(e) => Err(e),
    }
}

/// The server's sending socket.
#[derive(Debug)]
struct Source {
    socket: Socket,
    port: u16,
    /// Holds the same port of IPv6, where the host has it, so that no process sends from there.
    _guard: Option<Socket>,
}

impl Source {
    /// Opens it on a port of the kernel's choice.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn open() -> io::Result<Self> {
        let socket = udp()?;
        sends_on_loopback(&socket)?;
        drop_all(&socket)?;
        // A larger buffer is a wish, not a need.
        let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES_WISH);
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
        let port = v4(&socket.local_addr()?)?.port();
        let _guard = hold_ipv6(port)?;
        Ok(Self { socket, port, _guard })
    }

    /// Moves it to a descriptor that was taken before there was any session. When a process dies,
    /// its descriptors are closed in an order: on Linux (since 4.4; measured) the lowest one last.
    /// So the port is free for others only after every session was hung up, which is what members
    /// look at before they believe a datagram.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn move_to(self, place: Reserve) -> io::Result<Self> {
        let Self { socket, port, _guard } = self;
        let mut place = place.into_fd();
        nix::unistd::dup2(&socket, &mut place)?;
        let socket = Socket::from(place);
        socket.set_cloexec(true)?;
        Ok(Self { socket, port, _guard })
    }

    /// The port that members connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one datagram to a group.
    ///
    /// # Errors
    /// If a system call fails; full buffers are `WouldBlock`.
    pub fn send(&self, to: SocketAddrV4, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, &to.into()).map(|_| ())
    }
}

/// Holds a group's port for members: while it exists no process can bind the port exclusively. It
/// receives nothing.
#[derive(Debug)]
struct Anchor(Socket);

impl Anchor {
    /// Holds a port of a group; port 0 is a port of the kernel's choice.
    ///
    /// # Errors
    /// `AddrInUse` if another process holds it exclusively.
    pub fn open(group: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = udp()?;
        drop_all(&socket)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddrV4::new(group, port).into())?;
        Ok(Self(socket))
    }

    /// Its port.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn port(&self) -> io::Result<u16> {
        v4(&self.0.local_addr()?).map(|addr| addr.port())
    }
}

/// A member's socket on one group.
#[derive(Debug)]
pub struct Receiver(Socket);

impl Receiver {
    /// Listens to a group, and only to the server's source port.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn open(group: SocketAddrV4, source_port: u16) -> io::Result<Self> {
        let socket = udp()?;
        socket.set_reuse_address(true)?;
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES_WISH);
        // In this order nothing foreign can be queued before the filter works: connecting does not
        // remove datagrams that came before.
        only_own_groups(&socket)?;
        socket.bind(&group.into())?;
        socket.connect(&SocketAddrV4::new(LOOPBACK, source_port).into())?;
        socket.join_multicast_v4(group.ip(), &LOOPBACK)?;
        Ok(Self(socket))
    }

    /// Receive-buffer charge that the kernel granted, bytes.
    #[must_use]
    pub fn granted_bytes(&self) -> usize {
        self.0.recv_buffer_size().unwrap_or(0)
    }

    /// One datagram.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::io::Read;
        (&self.0).read(buffer)
    }

    /// Returns true if a datagram comes within some time.
    fn waits(&self, wait: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ms = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(ms)) {
                Ok(ready) => return Ok(ready > 0),
                Err(nix::Error::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// No groups that other sockets of this host joined.
#[cfg(target_os = "linux")]
fn only_own_groups(socket: &Socket) -> io::Result<()> {
    socket.set_multicast_all_v4(false)
}

#[cfg(not(target_os = "linux"))]
fn only_own_groups(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// Tries for a group and port that no other process occupies.
const TRIES_MAX: usize = 32;

/// A group within the range of one site; its last 256 are other protocols' habits.
fn random_group() -> io::Result<Ipv4Addr> {
    let [a, b] = random_bytes()?;
    Ok(Ipv4Addr::new(239, 255, a % 255, b))
}

/// The server's end: one source, a group a stream. What is sent to a group goes out once for all.
#[derive(Debug)]
pub struct Caster {
    source: Source,
    /// Holds the port for the server's life, also while no stream has a group.
    _home: Anchor,
    port: u16,
    groups: HashMap<u32, (Ipv4Addr, Anchor)>,
}

impl Caster {
    /// Opens the channel. The source takes the descriptor of `place`, which was opened before any
    /// session.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn open(place: Reserve) -> io::Result<Self> {
        let source = Source::open()?.move_to(place)?;
        let _home = Anchor::open(random_group()?, 0)?;
        let port = _home.port()?;
        Ok(Self { source, _home, port, groups: HashMap::new() })
    }

    /// The port that datagrams come from.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        self.source.port()
    }

    /// Opens a random group for a stream and holds its port.
    ///
    /// # Errors
    /// If a system call fails after some tries.
    pub fn open_group(&mut self, tag: u32) -> io::Result<SocketAddrV4> {
        if let Some((group, _)) = self.groups.get(&tag) {
            return Ok(SocketAddrV4::new(*group, self.port));
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES_MAX {
            let group = random_group()?;
            if self.groups.values().any(|(taken, _)| *taken == group) {
                continue;
            }
            match Anchor::open(group, self.port) {
                Ok(anchor) => {
                    self.groups.insert(tag, (group, anchor));
                    return Ok(SocketAddrV4::new(group, self.port));
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Gives a stream's group up.
    pub fn close_group(&mut self, tag: u32) {
        self.groups.remove(&tag);
    }

    /// A session hears by its own mailslot: not on this platform.
    pub fn set_slot(&mut self, _session: u64, _slot: Slot) {}

    /// A session has ended.
    pub fn remove_slot(&mut self, _session: u64) {}

    /// Sends a datagram to a stream's group, once for all who hear it.
    ///
    /// # Errors
    /// If a system call fails; full buffers are `WouldBlock`.
    pub fn send(
        &mut self,
        tag: u32,
        datagram: &[u8],
        _hearers: impl FnOnce() -> Vec<u64>,
    ) -> io::Result<()> {
        let Some((group, _)) = self.groups.get(&tag) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.source.send(SocketAddrV4::new(*group, self.port), datagram)
    }
}

/// Tries the channel on this machine: what the server sends arrives, what others forge does not.
///
/// # Errors
/// If the channel does not work; the error names the fault.
pub fn self_test() -> Result<(), ChannelFault> {
    let group = Ipv4Addr::new(239, 255, 0, 1);
    let source = Source::open()?;
    let anchor = Anchor::open(group, 0)?;
    let address = SocketAddrV4::new(group, anchor.port()?);
    let receiver = Receiver::open(address, source.port())?;
    let mut buffer = [0; 64];
    for forgery in forgeries() {
        // A forgery that the kernel refuses is as good as one that does not arrive.
        let _ = (forgery.attempt)(address, source.port(), b"forged");
    }
    // Loopback delivers in order: once this has come, whatever was before it has come as well.
    source.send(address, b"true")?;
    if !receiver.waits(SELF_TEST_WAIT)? {
        return Err(ChannelFault::Silent);
    }
    let bytes = receiver.recv(&mut buffer)?;
    if &buffer[..bytes] == b"true" {
        Ok(())
    } else {
        Err(ChannelFault::Forged(guilty(&receiver, address, &source)))
    }
}

/// Returns the name of the forgery that came through.
fn guilty(receiver: &Receiver, address: SocketAddrV4, source: &Source) -> &'static str {
    let mut buffer = [0; 64];
    while receiver.recv(&mut buffer).is_ok() {}
    for forgery in forgeries() {
        let _ = (forgery.attempt)(address, source.port(), b"forged");
        if receiver.recv(&mut buffer).is_ok() {
            return forgery.name;
        }
    }
    "unknown"
}

/// A way to speak as the server, to be tried: given the group's address and the server's source
/// port.
#[derive(Debug, Clone, Copy)]
pub struct Forgery {
    /// Description in a few words.
    pub name: &'static str,
    /// Function that tries it.
    pub attempt: fn(SocketAddrV4, u16, &[u8]) -> io::Result<()>,
}

/// All ways known to send in the server's name. Each must be refused by the kernel or not arrive.
#[must_use]
pub fn forgeries() -> &'static [Forgery] {
    const OTHER_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
    const LOOPBACK_ALL: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
    const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    &[
        Forgery { name: "plain send", attempt: |to, _, text| forge(ANY, 0, Reuse::None, to, text) },
        Forgery {
            name: "127.0.0.1 without reuse",
            attempt: |to, port, text| forge(LOOPBACK, port, Reuse::None, to, text),
        },
        Forgery {
            name: "127.0.0.1 with address reuse",
            attempt: |to, port, text| forge(LOOPBACK, port, Reuse::Address, to, text),
        },
        Forgery {
            name: "127.0.0.1 with port reuse",
            attempt: |to, port, text| forge(LOOPBACK, port, Reuse::Both, to, text),
        },
        Forgery {
            name: "bind to the group",
            attempt: |to, port, text| forge(*to.ip(), port, Reuse::Both, to, text),
        },
        Forgery {
            name: "bind to another group",
            attempt: |to, port, text| forge(OTHER_GROUP, port, Reuse::Both, to, text),
        },
        Forgery {
            name: "bind to 127.255.255.255",
            attempt: |to, port, text| forge(LOOPBACK_ALL, port, Reuse::Both, to, text),
        },
        Forgery {
            name: "bind to the wildcard",
            attempt: |to, port, text| forge(ANY, port, Reuse::Both, to, text),
        },
        Forgery { name: "packet information from 127.0.0.2", attempt: forge_by_packet_info },
        Forgery { name: "IPv6 on the same port", attempt: forge_by_ipv6 },
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    None,
    Address,
    Both,
}

fn forger(from: Ipv4Addr, port: u16, reuse: Reuse) -> io::Result<Socket> {
    let socket = udp()?;
    socket.set_reuse_address(reuse != Reuse::None)?;
    socket.set_reuse_port(reuse == Reuse::Both)?;
    sends_on_loopback(&socket)?;
    socket.bind(&SocketAddrV4::new(from, port).into())?;
    Ok(socket)
}

fn forge(from: Ipv4Addr, port: u16, reuse: Reuse, to: SocketAddrV4, text: &[u8]) -> io::Result<()> {
    forger(from, port, reuse)?.send_to(text, &to.into()).map(|_| ())
}

fn forge_by_ipv6(to: SocketAddrV4, port: u16, text: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    let mapped = |addr: &Ipv4Addr, port| SocketAddrV6::new(addr.to_ipv6_mapped(), port, 0, 0);
    socket.bind(&mapped(&LOOPBACK, port).into())?;
    socket.send_to(text, &mapped(to.ip(), to.port()).into()).map(|_| ())
}

#[cfg(target_os = "linux")]
fn forge_by_packet_info(to: SocketAddrV4, port: u16, text: &[u8]) -> io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
    let socket = forger(Ipv4Addr::new(127, 0, 0, 2), port, Reuse::Both)?;
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(LOOPBACK.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let to = SockaddrIn::from(to);
    let parts = [io::IoSlice::new(text)];
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &parts,
        &control,
        MsgFlags::empty(),
        Some(&to),
    )?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn forge_by_packet_info(_to: SocketAddrV4, _port: u16, _text: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> (Source, Anchor, SocketAddrV4) {
        let group = Ipv4Addr::new(239, 255, 7, 7);
        let anchor = Anchor::open(group, 0).unwrap();
        let address = SocketAddrV4::new(group, anchor.port().unwrap());
        (Source::open().unwrap(), anchor, address)
    }

    fn received(receiver: &Receiver) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; 100];
        while receiver.waits(Duration::from_millis(20)).unwrap() {
            let bytes = receiver.recv(&mut buffer).unwrap();
            all.push(buffer[..bytes].to_vec());
        }
        all
    }

    #[test]
    fn this_machine_has_a_channel_that_keeps_forgers_out() {
        self_test().unwrap();
    }

    #[test]
    fn every_member_of_the_group_hears_the_server_once() {
        let (source, _anchor, address) = channel();
        let members: Vec<_> =
            (0..3).map(|_| Receiver::open(address, source.port()).unwrap()).collect();
        source.send(address, b"hello").unwrap();
        for member in &members {
            assert_eq!(received(member), [b"hello"]);
        }
    }

    #[test]
    fn no_forgery_reaches_a_member() {
        let (source, _anchor, address) = channel();
        let member = Receiver::open(address, source.port()).unwrap();
        for forgery in forgeries() {
            let _ = (forgery.attempt)(address, source.port(), forgery.name.as_bytes());
            let came = received(&member);
            assert!(came.is_empty(), "{} came through", forgery.name);
        }
    }

    #[test]
    fn a_source_bound_to_an_address_would_be_forged() {
        // Shows that the forgeries are real ones: against the obvious bind they succeed.
        let (_, _anchor, address) = channel();
        let weak = udp().unwrap();
        sends_on_loopback(&weak).unwrap();
        weak.bind(&SocketAddrV4::new(LOOPBACK, 0).into()).unwrap();
        let port = v4(&weak.local_addr().unwrap()).unwrap().port();
        let member = Receiver::open(address, port).unwrap();
        let came = forgeries().iter().any(|forgery| {
            let _ = (forgery.attempt)(address, port, b"forged");
            !received(&member).is_empty()
        });
        assert!(came);
    }

    #[test]
    fn nothing_foreign_is_queued_while_a_member_opens_its_socket() {
        let (source, _anchor, address) = channel();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stranger = {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                let socket = forger(Ipv4Addr::UNSPECIFIED, 0, Reuse::None).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = socket.send_to(b"foreign", &address.into());
                }
            })
        };
        let mut buffer = [0; 100];
        let foreign = (0..500)
            .filter(|_| Receiver::open(address, source.port()).unwrap().recv(&mut buffer).is_ok())
            .count();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        stranger.join().unwrap();
        assert_eq!(foreign, 0);
    }

    #[test]
    fn another_group_on_the_same_port_is_not_heard() {
        let (source, _anchor, address) = channel();
        let other = SocketAddrV4::new(Ipv4Addr::new(239, 255, 7, 8), address.port());
        let member = Receiver::open(address, source.port()).unwrap();
        let elsewhere = Receiver::open(other, source.port()).unwrap();
        source.send(address, b"here").unwrap();
        assert_eq!(received(&member), [b"here"]);
        assert!(received(&elsewhere).is_empty());
    }

    #[test]
    fn a_squatter_cannot_keep_members_out() {
        let (source, _anchor, address) = channel();
        for ip in [*address.ip(), Ipv4Addr::UNSPECIFIED] {
            let squatter = udp().unwrap();
            assert!(squatter.bind(&SocketAddrV4::new(ip, address.port()).into()).is_err());
        }
        Receiver::open(address, source.port()).unwrap();
    }
}
