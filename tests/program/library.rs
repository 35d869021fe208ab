//! What a program gets from the library, without the command line.

use moot::{
    chat::frames::Frame,
    client::{
        Begin, Event, Follow, Level, RefusalCode, Request, Search, Server, Target, UserName,
        time_of,
    },
};

use super::world::{PATIENCE, World};

#[test]
fn library_sends_listens_searches_announces_and_lists() {
    let world = World::new();
    let _server = world.serve();
    let server = Server::find(Some(world.dir.to_str().unwrap())).unwrap();
    let ci = server.clone().labelled("ci".parse().unwrap());
    let room: Target = "dev".parse().unwrap();
    let follow = vec![Follow::Room("dev".parse().unwrap()), Follow::Announcements];
    let mut member = server.listen(follow, Begin::Now).unwrap();
    let sent = ci.say(&room, "빌드 성공").unwrap();
    assert_eq!((sent.id.to_string().as_str(), sent.members), ("dev:1", 1));
    let mut next = || loop {
        if let Event::Message(message) = member.next_event().unwrap() {
            return message;
        }
    };
    let message = next();
    assert!(message.from.name().ends_with("/ci"));
    assert_eq!(message.text, "빌드 성공");
    let age = time_of(message.wall_us).elapsed().unwrap();
    assert!(age < PATIENCE, "{age:?}");
    let search = Search { text: "성공".to_owned(), limit: 10, ..Search::default() };
    assert_eq!(server.search(&search).unwrap()[0].id, sent.id);
    ci.say(&room, "2").unwrap();
    assert_eq!(next().text, "2");
    let texts = |count| {
        let messages = server.history(&room, count).unwrap();
        messages.into_iter().map(|message| message.text).collect::<Vec<_>>()
    };
    assert_eq!((texts(1), texts(9)), (vec!["2".into()], vec!["빌드 성공".into(), "2".into()]));
    assert_eq!(server.who().unwrap().rows.iter().filter(|row| !row.visitor).count(), 1);
    // The announcer's own process is no member of the receipt.
    assert_eq!(ci.announce(Level::Notice, "all hear").unwrap().members, 0);
    assert_eq!(next().text, "all hear");
    assert!(ci.say(&"@nobody-of-that-name".parse().unwrap(), "x").is_err());
    assert!(ci.say(&room, "").is_err());
}

#[test]
fn users_are_looked_up_for_many_sessions_at_once() {
    let world = World::new();
    let _server = world.serve();
    let server = Server::find(Some(world.dir.to_str().unwrap())).unwrap();
    let mut links: Vec<_> = (0..40).map(|_| server.link().unwrap()).collect();
    // All at once, each for another user, so that none is known.
    for (at, link) in links.iter_mut().enumerate() {
        let user = UserName::new(&format!("nobody-of-that-name-{at}")).unwrap();
        let (begin, membership, keep) = (Begin::Now, false, false);
        link.queue_request(&Request::Join { follow: Follow::With(user), begin, membership, keep });
    }
    for link in &mut links {
        link.flush().unwrap();
    }
    for mut link in links {
        let refusal = loop {
            if let Frame::Reply { result, .. } = link.wait().unwrap() {
                break result.unwrap_err();
            }
        };
        assert_eq!(refusal.code, RefusalCode::Absent, "{refusal:?}");
    }
}
