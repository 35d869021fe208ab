//! Mosquitto: MQTT 3.1.1 with QoS 0 over a Unix socket.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    path::Path,
};

use socket2::Socket;

use super::{
    protocol::{Item, Protocol, TOPIC, fault},
    server::{Address, Start},
};

pub const SETTINGS: &[&str] = &[
    "listener 0 PATH (a Unix socket), QoS 0, keep-alive 0",
    "max_queued_messages 0, max_queued_bytes 0, max_inflight_messages 0 (nothing is dropped)",
    "set_tcp_nodelay true, persistence false, sys_interval 0, no log",
];

pub fn start(dir: &Path) -> Start {
    let (config, socket) = (dir.join("mosquitto.conf"), dir.join("m"));
    let mut text = format!("listener 0 {}\n", socket.display());
    text += "allow_anonymous true\npersistence false\nsys_interval 0\nset_tcp_nodelay true\n";
    text += "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\n";
    text += "log_dest none\nconnection_messages false\n";
    if nix::unistd::geteuid().is_root() {
        // It would become a user who may not write here.
        let _ = writeln!(text, "user root");
    }
    std::fs::write(&config, text).expect("a temporary file");
    Start { arguments: vec!["-c".into(), config.into()], address: Address::Unix(socket) }
}

const PUBLISH_QOS_0: u8 = 0x30;

pub struct Mosquitto;

impl Protocol for Mosquitto {
    fn around(size: usize) -> (Vec<u8>, Vec<u8>) {
        let mut before = vec![PUBLISH_QOS_0];
        push_length(&mut before, 2 + TOPIC.len() + size);
        push_text(&mut before, TOPIC);
        (before, Vec::new())
    }

    fn open(socket: &Socket) -> io::Result<()> {
        connect(socket, "publisher")
    }

    fn subscribe(mut socket: &Socket, number: usize) -> io::Result<()> {
        connect(socket, &format!("r{number}"))?;
        let mut body = vec![0, 1];
        push_text(&mut body, TOPIC);
        body.push(0);
        let mut packet = vec![0x82];
        push_length(&mut packet, body.len());
        socket.write_all(&[packet, body].concat())?;
        let mut answer = [0; 5];
        socket.read_exact(&mut answer)?;
        if answer == [0x90, 3, 0, 1, 0] { Ok(()) } else { Err(fault("Mosquitto", &answer)) }
    }

    fn next(bytes: &[u8]) -> io::Result<Option<(usize, Item<'_>)>> {
        let Some((start, length)) = length(bytes) else { return Ok(None) };
        let end = start + length;
        if bytes.len() < end {
            return Ok(None);
        }
        if bytes[0] != PUBLISH_QOS_0 || length < 2 {
            return Err(fault("Mosquitto", bytes));
        }
        let topic = usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]]));
        if bytes.get(start + 2..start + 2 + topic) != Some(TOPIC.as_bytes()) {
            return Err(fault("Mosquitto", bytes));
        }
        Ok(Some((end, Item::Message(&bytes[start + 2 + topic..end]))))
    }
}

fn connect(mut socket: &Socket, name: &str) -> io::Result<()> {
    const CLEAN_SESSION: u8 = 2;
    let mut body = Vec::new();
    push_text(&mut body, "MQTT");
    body.extend([4, CLEAN_SESSION, 0, 0]);
    push_text(&mut body, name);
    let mut packet = vec![0x10];
    push_length(&mut packet, body.len());
    socket.write_all(&[packet, body].concat())?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    if answer == [0x20, 2, 0, 0] { Ok(()) } else { Err(fault("Mosquitto", &answer)) }
}

fn push_text(packet: &mut Vec<u8>, text: &str) {
    packet.extend((text.len() as u16).to_be_bytes());
    packet.extend(text.as_bytes());
}

/// Seven bits a byte, lowest first; the eighth says that there are more.
fn push_length(packet: &mut Vec<u8>, mut length: usize) {
    while length > 127 {
        packet.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    packet.push(length as u8);
}

/// Where the body starts, and its length.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return Some((index + 2, length));
        }
    }
    None
}
