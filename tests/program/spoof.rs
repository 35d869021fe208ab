//! Only the server makes a member accept a message: other users try everything, with the real key in hand.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    process::{Command, Stdio},
    time::Instant,
};

use moot::{
    broadcast::Sealer,
    chat::{
        batch::{Builder, Draft},
        member::{Kind, Level, Member, SessionId},
        message::Notice,
        names::{RoomName, UserName},
        reply::{Reply, StreamInfo},
        request::{Begin, Follow, Request},
        stream_id::Channel,
    },
    client::Link,
    os,
    session::Connection,
    wire::hello::Hello,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::world::{Done, OTHER_UID, PATIENCE, Process, World, broadcast, eventually, is_root};

/// What a member of the server knows: all that a forger could wish for.
struct Insider {
    _link: Link,
    run: u32,
    source_port: u16,
    room: StreamInfo,
    announcements: StreamInfo,
}

impl Insider {
    /// Joins as a member does; none where there is no broadcast channel.
    fn join(world: &World) -> Option<Self> {
        let connection = Connection::open(&world.dir.join("socket"), PATIENCE).unwrap();
        let mut link = Link::open(connection, &Hello::new(None, Kind::Script, [9; 16]));
        link.set_deadline(Some(Instant::now() + PATIENCE));
        let welcome = link.welcome().unwrap().clone();
        if broadcast() == "off" {
            return None;
        }
        let source_port = welcome.source_port.expect("broadcast is on where it is wanted");
        let mut join = |follow| {
            let request =
                Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
            match link.ask(&request).unwrap() {
                Reply::Joined(mut infos) => infos.remove(0),
                other => panic!("{other:?}"),
            }
        };
        let room = join(Follow::Room(RoomName::new("dev").unwrap()));
        let announcements = join(Follow::Announcements);
        Some(Self { _link: link, run: welcome.run.0, source_port, room, announcements })
    }

    fn group(&self) -> SocketAddrV4 {
        address(self.room.channel.expect("the room has a channel"))
    }

    /// A datagram as the server makes them, with a message of the forger's choice.
    fn forged(&self, stream: &StreamInfo, seq: u64, notice: Option<&Notice>) -> Vec<u8> {
        let from = Member {
            session: SessionId(1),
            uid: 0,
            pid: 1,
            kind: Kind::Person,
            user: UserName::new("root").unwrap(),
            label: None,
        };
        let mut builder = Builder::default();
        builder.begin(0, stream.tag, seq);
        let draft = Draft {
            from: &from,
            wall_us: 0,
            reply_to: None,
            to_label: None,
            notice,
            will: None,
            origin: None,
            withheld: false,
            text: "forged",
        };
        assert!(builder.push(0, &draft));
        let mut datagram = Vec::new();
        let key = stream.channel.expect("a channel of its own").key;
        let mut sealer = Sealer::new(key.number, &key.bytes, self.run);
        assert!(sealer.seal(builder.bytes(), &mut datagram));
        datagram
    }

    /// Everything that could be believed, for the next number of room and announcements.
    fn all(&self, head: u64) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let notice = Notice {
            level: Level::Critical,
            room: None,
            expires_wall_us: None,
            retained: false,
            ack: false,
        };
        let room = self.group();
        let announcements = address(self.announcements.channel.expect("a channel of their own"));
        vec![
            (room, self.forged(&self.room, head + 1, None)),
            (room, self.forged(&self.room, head, None)),
            (announcements, self.forged(&self.announcements, 1, Some(&notice))),
            (room, b"garbage".to_vec()),
        ]
    }
}

fn address(channel: Channel) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(channel.group), channel.port)
}

/// Another process, of another user where there is one, that sends these in all ways that are known.
fn forge(
    world: &World,
    way: &str,
    source_port: u16,
    datagrams: &[(SocketAddrV4, Vec<u8>)],
) -> Process {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let datagrams: Vec<_> = datagrams.iter().map(|(to, d)| format!("{to}={}", hex(d))).collect();
    let program = world.copy(&std::env::current_exe().unwrap(), "forger");
    let args = ["--exact", "spoof::the_forger", "--nocapture"];
    let mut command = if is_root() {
        world.program_as(OTHER_UID, &program, &args)
    } else {
        let mut command = Command::new(program);
        command.args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    command.env("MOOT_FORGE", format!("{way} {source_port} {}", datagrams.join(",")));
    command.stdin(Stdio::piped());
    Process::spawn(command)
}

/// The other process's life; without its orders it is no test.
#[test]
fn the_forger() {
    let Ok(orders) = std::env::var("MOOT_FORGE") else { return };
    let mut words = orders.split(' ');
    let (way, port) = (words.next().unwrap(), words.next().unwrap().parse::<u16>().unwrap());
    let datagrams: Vec<(SocketAddrV4, Vec<u8>)> = words
        .next()
        .unwrap()
        .split(',')
        .map(|order| {
            let (to, hex) = order.split_once('=').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (to.parse().unwrap(), (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect();
    let mut out = std::io::stderr();
    match way {
        "all-ways" => {
            for (to, datagram) in &datagrams {
                for forgery in os::forgeries() {
                    // Refused by the kernel, or dropped by it.
                    let _ = (forgery.attempt)(*to, port, datagram);
                }
            }
            writeln!(out, "\nforged").unwrap();
        }
        "take-over" => {
            // The moment the server's port is free it is ours.
            let deadline = Instant::now() + PATIENCE;
            writeln!(out, "\nwaiting").unwrap();
            let socket = loop {
                if let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) {
                    break socket;
                }
                assert!(Instant::now() < deadline, "the port was never free");
            };
            socket2::SockRef::from(&socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
            for (to, datagram) in &datagrams {
                socket.send_to(datagram, to).unwrap();
            }
            writeln!(out, "forged").unwrap();
        }
        "squat" => {
            let squat = |reuse: bool, to: &SocketAddrV4| {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
                socket.set_reuse_address(reuse).unwrap();
                socket.bind(&(*to).into()).map(|()| socket)
            };
            let taken: Vec<_> =
                datagrams.iter().flat_map(|(to, _)| [squat(false, to), squat(true, to)]).collect();
            assert!(taken.iter().step_by(2).all(Result::is_err), "nobody has the port alone");
            writeln!(out, "\nsquatting").unwrap();
            // Until the test is over.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        _ => panic!("{way}"),
    }
}

fn done(forger: &mut Process, word: &str) {
    eventually(word, || {
        assert!(!forger.errors().contains("panicked"), "{}", forger.errors());
        forger.errors().lines().any(|line| line == word)
    });
}

#[test]
fn no_forgery_of_another_user_is_shown() {
    let world = World::new();
    let _server = if is_root() { world.serve_with(&["--system"]) } else { world.serve() };
    let mut bob = world.listen(&["dev"]);
    world.run(&["send", "dev", "first"]).ok();
    assert_eq!(bob.texts(1), ["first"]);
    let Some(insider) = Insider::join(&world) else { return };
    // What the server really sent is heard by everybody, understood by members only, and replayed.
    let ear = os::Receiver::open(insider.group(), insider.source_port).unwrap();
    world.run(&["send", "dev", "a secret of members"]).ok();
    assert_eq!(bob.texts(1), ["a secret of members"]);
    let mut datagrams = insider.all(2);
    let mut buffer = vec![0; 70_000];
    eventually("a datagram", || {
        let Ok(bytes) = ear.recv(&mut buffer) else { return false };
        let recorded = &buffer[..bytes];
        assert!(!String::from_utf8_lossy(recorded).contains("secret"), "it is sealed");
        datagrams.push((insider.group(), recorded.to_vec()));
        true
    });
    let mut forger = forge(&world, "all-ways", insider.source_port, &datagrams);
    done(&mut forger, "forged");
    world.run(&["send", "dev", "true"]).ok();
    world.run(&["announce", "true as well"]).ok();
    let next = bob.next("what comes after the forgeries");
    assert_eq!((&next["text"], &next["seq"]), (&"true".into(), &3.into()));
    assert_eq!(bob.next("the announcement")["text"], "true as well");
}

#[test]
fn the_port_of_a_dead_server_is_of_no_use() {
    for round in 0..5 {
        let world = World::new();
        let mut server = if is_root() { world.serve_with(&["--system"]) } else { world.serve() };
        // Many sessions, so that the end of the server takes its time; one member sleeps meanwhile.
        let mut crowd: Vec<_> = (0..10).map(|_| world.listen(&["dev"])).collect();
        let Some(insider) = Insider::join(&world) else { return };
        crowd[0].signal("STOP");
        let mut forger = forge(&world, "take-over", insider.source_port, &insider.all(0));
        done(&mut forger, "waiting");
        if round % 2 == 0 {
            server.kill();
        } else {
            server.signal("TERM");
        }
        done(&mut forger, "forged");
        crowd[0].signal("CONT");
        for bob in &mut crowd {
            let next = bob.next("the end");
            assert_eq!(next["type"], "end", "{next}");
        }
    }
}

#[test]
fn squatting_on_a_members_port_does_not_keep_others_out() {
    let world = World::new();
    let _server = if is_root() { world.serve_with(&["--system"]) } else { world.serve() };
    let mut bob = world.listen(&["dev"]);
    let Some(insider) = Insider::join(&world) else { return };
    let mut squatter = forge(&world, "squat", insider.source_port, &insider.all(0));
    done(&mut squatter, "squatting");
    let mut late = world.listen(&["dev"]);
    for n in 0..50 {
        world.run(&["send", "dev", &n.to_string()]).ok();
    }
    let all: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!((bob.texts(50), late.texts(50)), (all.clone(), all));
    let status = world.run(&["status", "--json"]).ok().objects();
    assert_eq!(status[0]["broadcast"], "multicast");
    assert!(status[0]["broadcast_sent"].as_u64().unwrap() > 0);
}

#[test]
fn other_user_can_not_connect_or_read_the_table() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _server = world.serve();
    let _bob = world.listen(&["dev"]);
    for args in [&["send", "dev", "hi"][..], &["who"], &["listen", "dev"], &["rooms"], &["stop"]] {
        world.run_as(OTHER_UID, args).exits(4);
    }
    // Not even when the directory lets them pass: socket and table have modes of their own.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&world.dir, open).unwrap();
    for file in ["socket", "presence", "lock"] {
        let mut command = Command::new("cat");
        command.arg(world.dir.join(file));
        std::os::unix::process::CommandExt::uid(&mut command, OTHER_UID);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = Done::of(command, None);
        assert_ne!(done.code, 0, "{file} can be read");
    }
    world.run_as(OTHER_UID, &["send", "dev", "hi"]).exits(4);
    world.run_as(OTHER_UID, &["who"]).exits(4);
}

#[test]
fn a_false_server_in_anothers_directory_is_not_trusted() {
    if !is_root() {
        return;
    }
    // A directory of ours in which another user's process listens.
    let world = World::new();
    std::fs::create_dir(&world.dir).unwrap();
    std::fs::set_permissions(&world.dir, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let script = format!(
        "import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen(); print('up',flush=True); time.sleep(60)",
        world.dir.join("socket").display()
    );
    let mut python = Command::new("python3");
    python.args(["-c", &script]);
    std::os::unix::process::CommandExt::uid(&mut python, OTHER_UID);
    python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(probe) = Command::new("python3").arg("--version").output() else { return };
    assert!(probe.status.success());
    let mut impostor = Process::spawn(python);
    assert_eq!(impostor.line("the impostor"), "up");
    let done = world.run(&["--timeout", "2s", "send", "--no-start", "dev", "a secret"]).exits(4);
    assert!(done.err.contains("not trusted") || done.err.contains("not safe"), "{}", done.err);
}
