//! A hostile host: it has a user of the NATS server and the permissions of a host, and publishes
//! with a client of its own.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    checker::{self, Writer},
    nats::{self, Nats, Version},
    process::{PATIENCE, holds_within},
    world::{ROOM, World, is_long},
};

/// Subject of room `dev` of the hostile host.
const SUBJECT: &str = "moot.1.r.mrsxm.db9";
const GENERATION: u64 = 1_700_000_000_000_000;

/// A batch as a link writes it.
fn batch(prev: u64, texts: &[&str]) -> Value {
    let message = |(at, text): (usize, &&str)| {
        let seq = prev + 1 + at as u64;
        json!({"seq": seq, "user": "eve", "kind": "person", "time_us": 1, "text": text})
    };
    let messages: Vec<_> = texts.iter().enumerate().map(message).collect();
    let last = prev + messages.len() as u64;
    json!({
        "v": 1, "link": 9, "room": ROOM, "generation": GENERATION, "prev": prev, "last": last,
        "messages": messages,
    })
}

/// Something to publish: a subject, the headers of its cursor, and a payload.
struct Item {
    subject: String,
    cursor: Option<(String, String)>,
    payload: Vec<u8>,
}

impl Item {
    /// A batch with the headers that belong to it.
    fn new(batch: &Value) -> Self {
        let cursor = Some((batch["generation"].to_string(), batch["last"].to_string()));
        Self { subject: SUBJECT.to_owned(), cursor, payload: batch.to_string().into_bytes() }
    }
}

/// Publishes at full speed as `db9`; returns once the server has it all.
fn publish(nats: &Nats, items: Vec<Item>) {
    nats.block_on(async move |url| {
        let client = nats::client(&url, "db9").await;
        for item in items {
            let mut headers = async_nats::HeaderMap::new();
            if let Some((generation, last)) = &item.cursor {
                headers.insert("Moot-Generation", generation.as_str());
                headers.insert("Moot-Last", last.as_str());
            }
            let payload = item.payload.into();
            client.publish_with_headers(item.subject, headers, payload).await.expect("sent");
        }
        let barrier = client.request("$JS.API.STREAM.INFO.MOOT", "".into()).await;
        barrier.expect("a reply");
    });
}

/// Two linked hosts, of which a hostile one is a neighbor.
fn world(version: Version) -> Option<World> {
    let mut world = World::new(version, &["web1", "db1"], ROOM)?;
    world.link_all();
    Some(world)
}

/// Texts of the hostile host on a host, and their users.
fn heard(world: &World, host: usize) -> Vec<(String, String)> {
    let of_it = |message: &Value| message["origin"]["host"] == "db9";
    let messages = world.hosts[host].history(ROOM).into_iter().filter(of_it);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    messages.map(|message| (word(&message["from"]["user"]), word(&message["text"]))).collect()
}

#[test]
fn forged_batches_are_refused_and_counted() {
    let Some(world) = world(Version::Debian) else { return };
    publish(&world.nats, vec![Item::new(&batch(0, &["good 1"]))]);
    world.hosts[0].hears(ROOM, "good 1");
    // Each has a number of its own: what is passed over as known is not tested.
    let numbers = std::cell::Cell::new(10);
    let forged = || {
        let seq = numbers.get();
        numbers.set(seq + 1);
        let mut batch = batch(1, &["forged"]);
        (batch["messages"][0]["seq"], batch["last"]) = (json!(seq), json!(seq));
        batch
    };
    let with = |key: &str, value: Value| {
        let mut batch = forged();
        match key.strip_prefix("m.") {
            Some(key) => batch["messages"][0][key] = value,
            None => batch[key] = value,
        }
        batch
    };
    let long = "x".repeat(64 * 1024);
    let mut items: Vec<_> = [
        with("m.user", json!("ann@web1")),
        with("m.user", json!("root@db1")),
        with("m.user", json!(long)),
        with("m.user", json!("")),
        with("m.user", json!("a\u{1b}[31m")),
        with("m.label", json!(long)),
        with("m.kind", json!("root")),
        with("m.seq", json!(1)),
        with("m.seq", json!(99)),
        with("m.seq", json!(u64::MAX)),
        with("m.text", json!("")),
        with("m.text", json!(format!("forged {long}{long}"))),
        with("m.origin", json!({"host": "web1"})),
        with("m.notice", json!({"level": "critical", "retain": true, "ack": true})),
        with("m.reply_to", json!({"host": long, "seq": 1})),
        with("room", json!("ops")),
        with("room", json!(long)),
        with("room", Value::Null),
        with("host", json!("web1")),
        with("v", json!("1")),
        with("v", json!(-1)),
        with("prev", json!(500)),
        with("last", json!(1)),
    ]
    .iter()
    .map(Item::new)
    .collect();
    for (generation, last) in [
        ("1", None),
        ("1700000000000000", Some("3")),
        ("-1", None),
        ("x", Some("y")),
        ("", Some("")),
    ] {
        let mut item = Item::new(&forged());
        let own = item.cursor.take().expect("a cursor");
        item.cursor = Some((generation.to_owned(), last.map_or(own.1, str::to_owned)));
        items.push(item);
    }
    items.push(Item { cursor: None, ..Item::new(&forged()) });
    for payload in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{\"v\":1}", &[b'['; 100_000]] {
        items.push(Item { payload: payload.to_vec(), ..Item::new(&forged()) });
    }
    items.push(Item { payload: vec![b' '; 900_000], ..Item::new(&forged()) });
    let count = items.len() as u64;
    publish(&world.nats, items);
    publish(&world.nats, vec![Item::new(&with("m.text", json!("good 2")))]);
    for host in 0..2 {
        world.hosts[host].hears(ROOM, "good 2");
        let heard = heard(&world, host);
        let users: Vec<_> = heard.iter().map(|(user, _)| user.as_str()).collect();
        assert!(users.iter().all(|user| *user == "eve@db9"), "{heard:?}");
        let texts: Vec<_> = heard.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["good 1", "good 2"]);
        let mut refused = 0;
        let all = holds_within(PATIENCE, || {
            refused = world.hosts[host].counter("refused_total", "db9");
            refused >= count
        });
        assert!(all, "{refused} of {count} forgeries were refused");
    }
    world.hosts[0].send(ROOM, "others are not disturbed");
    world.hosts[1].hears(ROOM, "others are not disturbed");
}

#[test]
fn users_of_a_hostile_host_never_pass_for_others() {
    let Some(world) = world(Version::Debian) else { return };
    let mut batch = batch(0, &["I am root"]);
    batch["messages"][0]["user"] = json!("root");
    batch["messages"][0]["label"] = json!("web1");
    publish(&world.nats, vec![Item::new(&batch)]);
    world.hosts[0].hears(ROOM, "I am root");
    assert_eq!(heard(&world, 0), [("root@db9".to_owned(), "I am root".to_owned())]);
    let message = world.hosts[0].history(ROOM).pop().unwrap();
    assert_eq!(message["from"]["uid"], Value::Null, "{message}");
}

#[test]
fn largest_numbers_of_a_host_disturb_no_other() {
    let Some(world) = world(Version::Debian) else { return };
    let mut all = Vec::new();
    for (generation, prev) in [
        (u64::MAX, 0),
        (i64::MAX as u64, u64::MAX - 1),
        (i64::MAX as u64 + 1, 5),
        (GENERATION, i64::MAX as u64 - 1),
    ] {
        let mut batch = batch(prev, &["large"]);
        batch["generation"] = json!(generation);
        all.push(Item::new(&batch));
    }
    publish(&world.nats, all);
    for text in ["one", "two"] {
        world.hosts[0].send(ROOM, text);
        world.hosts[1].hears(ROOM, text);
    }
    // A link that begins again reads them again.
    let mut world = world;
    world.hosts[1].kill_link();
    world.hosts[0].send(ROOM, "three");
    world.hosts[1].link();
    world.hosts[1].hears(ROOM, "three");
}

#[test]
fn ten_thousand_rooms_of_a_host_delay_no_other() {
    let Some(mut world) = world(Version::Debian) else { return };
    let pause = Duration::from_millis(5);
    let mut writers: Vec<_> =
        world.hosts.iter().map(|host| Writer::begin(host, ROOM, "a", pause)).collect();
    let rooms = (0..10_000).map(|number| {
        let name = data_encoding::BASE32_NOPAD.encode(format!("room{number}").as_bytes());
        let mut batch = batch(0, &["x"]);
        batch["room"] = json!(format!("room{number}"));
        let subject = format!("moot.1.r.{}.db9", name.to_lowercase());
        Item { subject, ..Item::new(&batch) }
    });
    publish(&world.nats, rooms.collect());
    let members: Vec<_> = (0..10_000)
        .map(|n| {
            json!({"user": format!("u{n}"), "kind": "person", "state": "online", "since_us": 1, "rooms": [ROOM]})
        })
        .collect();
    let rosters = members.chunks(500).enumerate().map(|(at, part)| {
        let roster = json!({"members": part, "last": at % 7 == 6, "announces": false});
        let presence = json!({"v": 1, "link": 1, "news": {"roster": roster}});
        let payload = presence.to_string().into_bytes();
        Item { subject: "moot.1.p.db9".to_owned(), cursor: None, payload }
    });
    publish(&world.nats, rosters.collect());
    writers.iter().for_each(|writer| writer.progress(100));
    world.hosts[1].kill_link();
    world.hosts[1].link();
    writers.iter().for_each(|writer| writer.progress(10));
    checker::check(&world, &mut writers);
    let rooms = world.hosts[0].run(&["--json", "rooms"]).ok().objects();
    assert!(rooms.len() < 10, "expected no rooms of another host: {}", rooms.len());
}

#[test]
fn payload_of_version_0_is_refused() {
    let Some(world) = world(Version::Debian) else { return };
    let mut old = batch(0, &["old"]);
    old["v"] = json!(0);
    publish(&world.nats, vec![Item::new(&old), Item::new(&batch(0, &["good"]))]);
    world.hosts[0].hears(ROOM, "good");
}

#[test]
fn flood_of_a_host_delays_no_other() {
    let Some(world) = world(Version::Debian) else { return };
    let count = if is_long() { 100_000 } else { 5_000 };
    let pause = Duration::from_millis(5);
    let mut writers: Vec<_> =
        world.hosts.iter().map(|host| Writer::begin(host, ROOM, "a", pause)).collect();
    let texts: Vec<_> = (1..=count).map(|n| format!("flood {n}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let flood = (0..).zip(texts.chunks(1_000));
    let items = flood.map(|(at, part)| Item::new(&batch(at * 1_000, part))).collect();
    publish(&world.nats, items);
    world.hosts[0].send(ROOM, "after the flood");
    world.hosts[1].hears(ROOM, "after the flood");
    let flooded = world.hosts[1].texts(ROOM).iter().filter(|t| t.starts_with("flood ")).count();
    super::process::note(&format!("{flooded} texts of the flood came before another host's"));
    checker::check(&world, &mut writers);
    let mut imported = 0;
    let whole = holds_within(4 * PATIENCE, || {
        imported = world.hosts[1].counter("imported_total", "db9");
        imported == count
    });
    assert!(whole, "{imported} of {count} texts of the flood were imported");
    let heard = heard(&world, 1);
    assert!(heard.iter().map(|(_, text)| text).eq(texts.iter()), "{} texts", heard.len());
}
