//! All that can be measured, and how.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    drive::{self, Window},
    moot::{self, Variant},
    mosquitto::{self, Mosquitto},
    nats::{self, Nats},
    redis::{self, Redis},
    sample::{Described, Measured, Run},
    server::{Server, Start, find, version},
};

/// A server of others.
pub struct Peer {
    name: &'static str,
    program: &'static str,
    version: &'static str,
    settings: &'static [&'static str],
    window: Window,
    start: fn(&Path) -> Start,
    measure: fn(&Server, &Run, Window) -> io::Result<Measured>,
}

/// Windows are as small as costs no speed. With 64 KiB a write, Redis and NATS were equally fast, as far
/// as the noise let it be seen, from 4,096 to 65,536 messages on their way at 64 bytes with up to 100
/// receivers, and from 256 with 1,000; at 1 KiB best at 512 to 1,024. Mosquitto reads and writes each
/// message by itself and is equally fast from 1,024 with one receiver, from 16 with 100.
const PEERS: [Peer; 3] = [
    Peer {
        name: "redis",
        program: "redis-server",
        version: "--version",
        settings: redis::SETTINGS,
        window: Window { bytes: 1 << 20, deliveries: 500_000 },
        start: redis::start,
        measure: drive::measure::<Redis>,
    },
    Peer {
        name: "nats",
        program: "nats-server",
        version: "--version",
        settings: nats::SETTINGS,
        window: Window { bytes: 1 << 20, deliveries: 500_000 },
        start: nats::start,
        measure: drive::measure::<Nats>,
    },
    Peer {
        name: "mosquitto",
        program: "mosquitto",
        version: "-h",
        settings: mosquitto::SETTINGS,
        window: Window { bytes: 256 << 10, deliveries: 20_000 },
        start: mosquitto::start,
        measure: drive::measure::<Mosquitto>,
    },
];

/// The program itself comes first: it is what the others are compared with.
pub const MOOT: &str = "moot";
const VARIANTS: [(&str, Variant); 3] = [
    (MOOT, Variant { broadcast: true, history: false }),
    ("moot-history", Variant { broadcast: true, history: true }),
    ("moot-session", Variant { broadcast: false, history: false }),
];

pub fn is_moot(name: &str) -> bool {
    VARIANTS.iter().any(|(variant, _)| *variant == name)
}

pub struct System {
    pub described: Described,
    program: PathBuf,
    kind: Kind,
}

enum Kind {
    Moot(Variant),
    Peer(Peer),
}

impl System {
    pub fn name(&self) -> &str {
        &self.described.name
    }

    /// On a fresh server.
    pub fn measure(&self, run: &Run) -> io::Result<Measured> {
        match &self.kind {
            Kind::Moot(variant) => moot::measure(&self.program, *variant, run),
            Kind::Peer(peer) => {
                let server = Server::start(&self.program, peer.start)?;
                (peer.measure)(&server, run, peer.window)
            }
        }
    }
}

/// What is installed of that which is wanted, and the programs that are not.
pub fn installed(own: &Path, wanted: &[String]) -> (Vec<System>, Vec<&'static str>) {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let (mut systems, mut missing) = (Vec::new(), Vec::new());
    for (name, variant) in VARIANTS.into_iter().filter(|(name, _)| is_wanted(name)) {
        let settings = variant.settings();
        let described =
            Described { name: name.into(), version: version(own, "--version"), settings };
        systems.push(System { described, program: own.into(), kind: Kind::Moot(variant) });
    }
    for peer in PEERS.into_iter().filter(|peer| is_wanted(peer.name)) {
        let Some(program) = find(peer.program) else {
            missing.push(peer.program);
            continue;
        };
        let mut settings: Vec<String> = peer.settings.iter().map(|s| (*s).to_owned()).collect();
        settings.push(peer.window.to_string());
        let version = version(&program, peer.version);
        let described = Described { name: peer.name.into(), version, settings };
        systems.push(System { described, program, kind: Kind::Peer(peer) });
    }
    (systems, missing)
}

/// All names that may be wanted.
pub fn names() -> Vec<&'static str> {
    VARIANTS.iter().map(|(name, _)| *name).chain(PEERS.iter().map(|peer| peer.name)).collect()
}
