//! A host with the smallest permissions can have replies stored on another host's subjects.

use std::path::{Path, PathBuf};

use async_nats::Client;
use futures_util::StreamExt;
use moot::link::{
    StreamLimits,
    carrier::{Carrier, ExportCursor, PublishError},
};

use super::{
    carrier_server::{Server, on_both_versions, users},
    nats,
    process::PATIENCE,
};

async fn raw(server: &Server, user: &str) -> Client {
    nats::client(&server.url(), user).await
}

async fn send(client: &Client, subject: &str, reply: &str, payload: &str) {
    let (subject, reply) = (subject.to_owned(), reply.to_owned());
    client.publish_with_reply(subject, reply, payload.to_owned().into()).await.expect("sent");
    let barrier = client.request("$JS.API.STREAM.INFO.MOOT", "".into()).await;
    barrier.expect("a reply");
}

async fn setup(program: &Path) -> (Server, Carrier, Client) {
    let server = Server::start(program, &users());
    let admin = server.login("admin", "admin").await.expect("the admin");
    admin.create_stream(&StreamLimits::default()).await.expect("a stream");
    let evil = raw(&server, "a").await;
    (server, admin, evil)
}

async fn replies_are_stored_without_cursor(program: PathBuf) {
    let (server, admin, evil) = setup(&program).await;
    let cursor = Some(ExportCursor { generation: 5, last: 1 });
    let own = server.login("a", "a").await.expect("host a");
    own.publish("moot.1.r.x.a", cursor, "forged".into(), 0).await.expect("stored");
    send(&evil, "$JS.API.STREAM.INFO.MOOT", "moot.1.r.one.b", "").await;
    send(&evil, "$JS.API.STREAM.MSG.GET.MOOT", "moot.1.r.two.b", r#"{"seq":1}"#).await;
    send(&evil, "moot.1.n.a", "moot.1.r.three.b", "x").await;
    for token in ["one", "two", "three"] {
        let stored = admin.last(&format!("moot.1.r.{token}.b")).await.expect("a reply");
        assert_eq!(stored.expect("NATS stores it").cursor, None, "{token}");
    }
    let config = r#"{"stream_name":"MOOT","config":{"name":"e","ack_policy":"none","deliver_policy":"all"}}"#;
    let created = evil.request("$JS.API.CONSUMER.CREATE.MOOT.e", config.into()).await;
    created.expect("a consumer");
    send(&evil, "$JS.API.CONSUMER.MSG.NEXT.MOOT.e", "moot.1.r.four.b", "1").await;
    send(&evil, "$JS.API.DIRECT.GET.MOOT", "moot.1.r.five.b", r#"{"seq":1}"#).await;
    for token in ["four", "five"] {
        assert_eq!(admin.last(&format!("moot.1.r.{token}.b")).await, Ok(None), "{token}");
    }
    let config = r#"{"stream_name":"MOOT","config":{"name":"p","ack_policy":"none","deliver_policy":"all","deliver_subject":"moot.1.r.six.b"}}"#;
    let refused = evil.request("$JS.API.CONSUMER.CREATE.MOOT.p", config.into()).await;
    let refused = String::from_utf8_lossy(&refused.expect("a reply").payload).into_owned();
    assert!(refused.contains("forms a cycle"), "{refused}");
}

async fn direct_get_would_forge_headers(program: PathBuf) {
    let (server, admin, _) = setup(&program).await;
    let own = server.login("a", "a").await.expect("host a");
    let cursor = Some(ExportCursor { generation: 5, last: 1 });
    own.publish("moot.1.r.x.a", cursor, "forged".into(), 0).await.expect("stored");
    let admin_raw = raw(&server, "admin").await;
    let config = r#"{"name":"MOOT","subjects":["moot.1.r.>","moot.1.n.*","moot.1.a.>"],"retention":"limits","storage":"file","discard":"old","max_age":604800000000000,"max_bytes":1073741824,"max_msgs":-1,"max_msgs_per_subject":-1,"max_msg_size":-1,"max_consumers":-1,"num_replicas":1,"allow_direct":true}"#;
    let updated = admin_raw.request("$JS.API.STREAM.UPDATE.MOOT", config.into()).await;
    let updated = String::from_utf8_lossy(&updated.expect("a reply").payload).into_owned();
    assert!(updated.contains("\"allow_direct\":true"), "{updated}");
    let state = admin.stream_state(&StreamLimits::default()).await.expect("a state");
    assert!(state.differences.join("").contains("allow_direct"), "{state:?}");
    let mut watcher = admin_raw.subscribe("moot.1.p.b").await.expect("a subscription");
    admin_raw.flush().await.expect("flushed");
    // Only if an administrator permits it; the smallest permissions do not.
    let (reply, subject) = ("moot.1.p.b", "$JS.API.DIRECT.GET.MOOT");
    send(&admin_raw, subject, reply, r#"{"seq":1}"#).await;
    let message = tokio::time::timeout(PATIENCE, watcher.next()).await;
    let message = message.expect("in time").expect("a message");
    assert_eq!(&message.payload[..], b"forged");
    assert!(message.headers.is_some_and(|h| h.get("Moot-Last").is_some()), "expected headers");
}

async fn export_continues_after_garbage_on_its_subject(program: PathBuf) {
    let (server, admin, evil) = setup(&program).await;
    let subject = "moot.1.r.mrsxm.b";
    let cursor = |last| Some(ExportCursor { generation: 5, last });
    assert_eq!(admin.publish(subject, cursor(7), "1".into(), 0).await, Ok(1));
    assert_eq!(admin.publish(subject, cursor(9), "2".into(), 1).await, Ok(2));
    send(&evil, "$JS.API.STREAM.INFO.MOOT", subject, "").await;
    let wrong = admin.publish(subject, cursor(10), "3".into(), 2).await;
    assert!(matches!(wrong, Err(PublishError::WrongLast { found: Some(3), .. })), "{wrong:?}");
    let tail = admin.tail(subject).await.expect("a tail");
    assert_eq!((tail.sequence, tail.cursor), (3, cursor(9)));
    assert_eq!(admin.publish(subject, cursor(10), "3".into(), tail.sequence).await, Ok(4));
    let tail = admin.tail(subject).await.expect("a tail");
    assert_eq!((tail.sequence, tail.cursor), (4, cursor(10)));
    drop(server);
}

on_both_versions!(
    replies_are_stored_without_cursor,
    direct_get_would_forge_headers,
    export_continues_after_garbage_on_its_subject,
);
