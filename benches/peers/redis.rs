//! Redis: pub/sub over a Unix socket.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::Path,
};

use socket2::Socket;

use super::{
    protocol::{Item, Protocol, fault, number_line},
    server::{Address, Start},
};

pub const SETTINGS: &[&str] = &[
    "--port 0 --unixsocket PATH",
    "--save \"\" --appendonly no (nothing is stored)",
    "--client-output-buffer-limit pubsub 0 0 0 (no subscriber is cut off)",
    "publisher: CLIENT REPLY OFF (no answer to each PUBLISH), pipelined",
];

pub fn start(dir: &Path) -> Start {
    let socket = dir.join("r");
    let words = ["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"];
    let limit = ["--client-output-buffer-limit", "pubsub 0 0 0", "--loglevel", "warning"];
    let mut arguments: Vec<OsString> = words.iter().chain(&limit).map(OsString::from).collect();
    arguments.extend(["--dir".into(), dir.into(), "--unixsocket".into(), socket.clone().into()]);
    Start { arguments, address: Address::Unix(socket) }
}

const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$";

pub struct Redis;

impl Protocol for Redis {
    fn around(size: usize) -> (Vec<u8>, Vec<u8>) {
        let before = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n${size}\r\n");
        (before.into(), b"\r\n".to_vec())
    }

    fn open(mut socket: &Socket) -> io::Result<()> {
        socket.write_all(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n")
    }

    fn subscribe(mut socket: &Socket, _number: usize) -> io::Result<()> {
        const CONFIRMED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n";
        socket.write_all(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nt\r\n")?;
        let mut answer = [0; CONFIRMED.len()];
        socket.read_exact(&mut answer)?;
        if answer == CONFIRMED { Ok(()) } else { Err(fault("Redis", &answer)) }
    }

    fn next(bytes: &[u8]) -> io::Result<Option<(usize, Item<'_>)>> {
        if !bytes.starts_with(MESSAGE) {
            let early = MESSAGE.starts_with(bytes);
            return if early { Ok(None) } else { Err(fault("Redis", bytes)) };
        }
        let Some((size, start)) = number_line(bytes, MESSAGE.len()) else { return Ok(None) };
        let end = start + size + 2;
        Ok((bytes.len() >= end).then(|| (end, Item::Message(&bytes[start..end - 2]))))
    }
}
