//! NATS: core publish and subscribe over loopback TCP; it has no Unix sockets.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use socket2::Socket;

use super::{
    protocol::{Item, Protocol, fault, number_line},
    server::{Address, Start},
};

pub const SETTINGS: &[&str] = &[
    "loopback TCP (it has no Unix sockets), TCP_NODELAY on all sides",
    "write_deadline 60s, max_pending 1GB (no slow consumer is cut off)",
    "no JetStream, no monitoring port, no log; CONNECT verbose false, pedantic false",
];

pub fn start(dir: &Path) -> Start {
    let config = dir.join("nats.conf");
    let text = "write_deadline: \"60s\"\nmax_pending: 1GB\nping_interval: \"2m\"\n";
    std::fs::write(&config, text).expect("a temporary file");
    let address = free_port();
    let mut arguments = vec!["-a".into(), address.ip().to_string().into()];
    arguments.extend(["-p".into(), address.port().to_string().into()]);
    arguments.extend(["-c".into(), config.into(), "-l".into(), "/dev/null".into()]);
    Start { arguments, address: Address::Tcp(address) }
}

/// Free a moment ago, that is: the server has no other way to take a port that nobody has and say it
/// at once.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    listener.local_addr().expect("its address")
}

const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\
      \"version\":\"1\",\"protocol\":1}\r\n";
const MESSAGE: &[u8] = b"MSG t 1 ";

pub struct Nats;

impl Protocol for Nats {
    fn around(size: usize) -> (Vec<u8>, Vec<u8>) {
        (format!("PUB t {size}\r\n").into(), b"\r\n".to_vec())
    }

    fn open(socket: &Socket) -> io::Result<()> {
        confirmed(socket, b"")
    }

    fn subscribe(socket: &Socket, _number: usize) -> io::Result<()> {
        confirmed(socket, b"SUB t 1\r\n")
    }

    fn next(bytes: &[u8]) -> io::Result<Option<(usize, Item<'_>)>> {
        if !bytes.starts_with(MESSAGE) {
            return line(bytes);
        }
        let Some((size, start)) = number_line(bytes, MESSAGE.len()) else { return Ok(None) };
        let end = start + size + 2;
        Ok((bytes.len() >= end).then(|| (end, Item::Message(&bytes[start..end - 2]))))
    }
}

/// What is not a message is one line.
fn line(bytes: &[u8]) -> io::Result<Option<(usize, Item<'_>)>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let item = match &bytes[..=end] {
        b"PING\r\n" => Item::Answer(b"PONG\r\n"),
        b"PONG\r\n" | b"+OK\r\n" => Item::Other,
        line if line.starts_with(b"INFO ") => Item::Other,
        line => return Err(fault("NATS", line)),
    };
    Ok(Some((end + 1, item)))
}

/// Sends the greeting and `more`, and waits until the server has worked it off.
fn confirmed(mut socket: &Socket, more: &[u8]) -> io::Result<()> {
    socket.write_all(&[CONNECT, more, b"PING\r\n"].concat())?;
    // Byte by byte, so that nothing behind it is taken.
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(b"\nPONG\r\n") {
        socket.read_exact(&mut byte)?;
        heard.push(byte[0]);
        if heard.starts_with(b"-ERR") {
            return Err(fault("NATS", &heard));
        }
    }
    Ok(())
}
