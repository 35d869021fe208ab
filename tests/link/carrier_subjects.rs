//! Subjects that the carrier uses, with the smallest permissions of a host.

use std::path::PathBuf;

use moot::link::{
    StreamLimits, Verdict,
    carrier::{CarrierError, CheckSubjects, ExportCursor, Filter, PublishError},
};

use super::carrier_server::{Server, on_both_versions, users};

fn subjects(host: &str, other: &str) -> CheckSubjects {
    CheckSubjects {
        own: vec![
            format!("moot.1.r.mrsxm.{host}"),
            format!("moot.1.n.{host}"),
            format!("moot.1.a.{other}.1.{host}"),
        ],
        foreign: vec![format!("moot.1.r.mrsxm.{other}"), format!("moot.1.p.{other}")],
        presence: format!("moot.1.p.{host}"),
        presence_all: "moot.1.p.*".to_owned(),
    }
}

async fn smallest_permissions_suffice(program: PathBuf) {
    let server = Server::start(&program, &users());
    let limits = StreamLimits::default();
    let admin = server.login("admin", "admin").await.expect("the admin");
    admin.create_stream(&limits).await.expect("a stream");
    let a = server.login("a", "a").await.expect("host a");
    let cursor = Some(ExportCursor { generation: 5, last: 1 });
    let mut all = a.consume(Filter::All, 0).await.expect("a consumer");
    let room = Filter::Subjects(vec!["moot.1.r.>".to_owned()]);
    let mut rooms = a.consume(room, 0).await.expect("a consumer");
    let two = Filter::Subjects(vec!["moot.1.r.>".to_owned(), "moot.1.n.*".to_owned()]);
    let mut two = a.consume(two, 0).await.expect("a consumer");
    assert_eq!(a.publish("moot.1.a.x.1.a", None, "0".into(), 0).await, Ok(1));
    assert_eq!(a.publish("moot.1.n.a", None, "1".into(), 0).await, Ok(2));
    assert_eq!(a.publish("moot.1.r.mrsxm.a", cursor, "2".into(), 0).await, Ok(3));
    assert_eq!(all.next().await.expect("a message").expect("a message").sequence, 1);
    assert_eq!(two.next().await.expect("a message").expect("a message").sequence, 2);
    let stored = rooms.next().await.expect("a message").expect("a message");
    assert_eq!((stored.sequence, stored.cursor, &stored.payload[..]), (3, cursor, &b"2"[..]));
    let last = a.last("moot.1.r.mrsxm.a").await.expect("a reply").expect("a message");
    assert_eq!(last, stored, "expected the same message from both interfaces");
    assert_eq!(a.last("moot.1.r.x.a").await, Ok(None));
    let found = a.check(&subjects("a", "b"), &limits).await;
    for finding in &found {
        assert_eq!(finding.verdict, Verdict::Good, "{found:#?}");
    }
    assert_eq!(a.stream_state(&limits).await.expect("a state").last, 3, "expected no garbage");
}

async fn denials_are_reported_not_timed_out(program: PathBuf) {
    let server = Server::start(&program, &users());
    let limits = StreamLimits::default();
    let admin = server.login("admin", "admin").await.expect("the admin");
    admin.create_stream(&limits).await.expect("a stream");
    let a = server.login("a", "a").await.expect("host a");
    let denied = a.publish("moot.1.r.mrsxm.b", None, "x".into(), 0).await;
    assert!(
        matches!(&denied, Err(PublishError::Denied(d)) if d.publish && d.subject == "moot.1.r.mrsxm.b"),
        "{denied:?}"
    );
    let denied = a.create_stream(&limits).await;
    assert!(matches!(denied, Err(CarrierError::Denied(_))), "{denied:?}");
    let mut foreign = a.subscribe_plain("moot.1.x.*").await.expect("a subscription");
    let denied = foreign.next().await.expect("an answer").expect_err("a denial");
    assert_eq!((denied.publish, denied.subject.as_str()), (false, "moot.1.x.*"));
    let b = server.login("b", "b").await.expect("host b");
    let denied = b.consume(Filter::All, 0).await.expect_err("a denial").to_string();
    assert!(denied.contains("$JS.API.CONSUMER.CREATE"), "{denied}");
    let denied = b.last("moot.1.n.b").await;
    assert!(matches!(denied, Err(CarrierError::Denied(_))), "{denied:?}");
    let denied = server.login("c", "c").await.expect_err("no replies").to_string();
    assert!(denied.contains("denies subscribing to _INBOX_c."), "{denied}");
    let d = server.login("d", "d").await.expect("host d");
    let mut messages = d.consume(Filter::All, 0).await.expect("a consumer");
    let denied = messages.next().await.expect("an answer").expect_err("a denial").to_string();
    assert!(denied.contains("$JS.API.CONSUMER.MSG.NEXT"), "{denied}");
    let found = b.check(&subjects("b", "a"), &limits).await;
    let problems = found.iter().filter(|f| f.verdict == Verdict::Problem).count();
    assert_eq!(problems, 6, "expected 3 subjects, last, consumer, presence: {found:#?}");
}

on_both_versions!(smallest_permissions_suffice, denials_are_reported_not_timed_out);
