//! A network of namespaces: one with a bridge, where the NATS server runs, and one a host.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use super::machine;

/// Address of the NATS server in a network.
pub const CENTER: &str = "10.77.0.1";

/// The way into a namespace.
pub struct Entry(File);

impl Entry {
    /// Has a process begin in the namespace.
    pub fn place(&self, command: &mut Command) {
        let descriptor = self.0.try_clone().unwrap();
        let enter = move || match set_namespace(&descriptor) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: between fork and exec it makes one system call, and allocates nothing.
        unsafe { command.pre_exec(enter) };
    }

    /// Puts the current thread into the namespace.
    pub fn enter(&self) {
        assert_eq!(set_namespace(&self.0), 0, "expected to enter a namespace");
    }
}

/// A network namespace; it is removed when it is dropped.
pub struct Namespace {
    name: String,
    entry: Entry,
}

impl Namespace {
    fn new(name: String) -> Result<Self, String> {
        ip(&["netns", "add", &name])?;
        let opened = File::open(format!("/run/netns/{name}"));
        match opened {
            Ok(file) => {
                let namespace = Self { name, entry: Entry(file) };
                namespace.ip(&["link", "set", "lo", "up"])?;
                Ok(namespace)
            }
            Err(e) => {
                let _ = ip(&["netns", "del", &name]);
                Err(e.to_string())
            }
        }
    }

    fn ip(&self, args: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// The way into it, for processes that do not own it.
    pub fn entry(&self) -> Entry {
        Entry(self.entry.0.try_clone().unwrap())
    }
}

fn set_namespace(file: &File) -> i32 {
    // SAFETY: the descriptor is open; the call changes the calling thread alone.
    unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// See the head of this file.
pub struct Network {
    center: Namespace,
    tag: String,
}

impl Network {
    /// Creates the center of a network.
    ///
    /// # Errors
    /// Returns the reason if namespaces can't be made here: the user is not root, or `ip` is missing.
    pub fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static CLEAN: Once = Once::new();
        if !machine::is_root() {
            return Err("network namespaces need root".to_owned());
        }
        CLEAN.call_once(remove_abandoned);
        let tag = format!("moot{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let center = Namespace::new(format!("{tag}-c"))?;
        center.ip(&["link", "add", "name", "br0", "type", "bridge"])?;
        center.ip(&["addr", "add", &format!("{CENTER}/24"), "dev", "br0"])?;
        center.ip(&["link", "set", "br0", "up"])?;
        Ok(Self { center, tag })
    }

    /// The way to the center.
    pub fn entry(&self) -> Entry {
        self.center.entry()
    }

    /// Creates the namespace of host number `number`, with a cable to the center.
    ///
    /// # Errors
    /// Returns the message of `ip`.
    pub fn host(&self, number: usize) -> Result<Namespace, String> {
        let host = Namespace::new(format!("{}-{number}", self.tag))?;
        let cable = cable(number);
        let peer = ["peer", "name", "eth0", "netns", &host.name];
        self.center.ip(&[&["link", "add", &cable, "type", "veth"], &peer[..]].concat())?;
        self.center.ip(&["link", "set", &cable, "master", "br0", "up"])?;
        let address = format!("10.77.0.{}/24", 10 + number);
        host.ip(&["addr", "add", &address, "dev", "eth0"])?;
        host.ip(&["link", "set", "eth0", "up"])?;
        Ok(host)
    }

    /// Cuts the cable of a host, or mends it.
    pub fn set_cable(&self, number: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        self.center.ip(&["link", "set", &cable(number), state]).unwrap();
    }
}

/// Removes the namespaces of earlier runs that were killed.
fn remove_abandoned() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let run = name.strip_prefix("moot").and_then(|rest| rest.split_once('-'));
        let process = run.and_then(|(process, _)| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Another run may remove it at the same time.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn cable(number: usize) -> String {
    format!("v{number}")
}

fn ip(args: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(args).output().map_err(|e| format!("ip: {e}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr))),
    }
}
