//! Order without a hole over restarts, and events of the stream.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::Client;
use moot::link::{
    StreamLimits,
    carrier::{Carrier, ConsumeError, ExportCursor, Filter, Messages, PublishError, Stored},
};

use super::{
    carrier_server::{Server, connected, disconnected, on_both_versions},
    process::PATIENCE,
};

const SUBJECT: &str = "moot.1.r.x.a";

async fn setup(program: &Path) -> (Server, Carrier) {
    let server = Server::start(program, "");
    let carrier = server.carrier("a").await;
    carrier.create_stream(&StreamLimits::default()).await.expect("a stream");
    (server, carrier)
}

async fn next(messages: &mut Messages) -> Result<Stored, ConsumeError> {
    let next = tokio::time::timeout(PATIENCE, messages.next()).await;
    next.expect("a message in time").expect("a message or an error")
}

/// Publishes numbers 1 to `count` exactly once, whatever happens to the server.
async fn publish_all(carrier: Carrier, count: u64, progress: tokio::sync::watch::Sender<u64>) {
    let mut number = 1;
    let mut expected = 0;
    while number <= count {
        let cursor = Some(ExportCursor { generation: 1, last: number });
        match carrier.publish(SUBJECT, cursor, number.to_string().into(), expected).await {
            Ok(sequence) => {
                expected = sequence;
                progress.send_replace(number);
                number += 1;
            }
            Err(
                PublishError::Unknown { .. }
                | PublishError::WrongLast { .. }
                | PublishError::NotConnected { .. },
            ) => {
                let Ok(tail) = carrier.tail(SUBJECT).await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                expected = tail.sequence;
                number = tail.cursor.map_or(0, |cursor| cursor.last) + 1;
            }
            Err(e) => panic!("unexpected: {e}"),
        }
    }
}

async fn no_hole_over_kills(program: PathBuf) {
    const KILLS: u64 = 5;
    const COUNT: u64 = 3_000;
    let (mut server, carrier) = setup(&program).await;
    let reader = server.carrier("b").await;
    let two = Filter::Subjects(vec!["moot.1.r.*.a".to_owned(), "moot.1.n.*".to_owned()]);
    let mut series = Vec::new();
    for filter in [Filter::All, Filter::Subjects(vec!["moot.1.r.>".to_owned()]), two] {
        let mut messages = reader.consume(filter, 0).await.expect("a consumer");
        series.push(tokio::spawn(async move {
            for number in 1..=COUNT {
                let stored = next(&mut messages).await.expect("a message");
                assert_eq!(
                    (stored.sequence, stored.cursor.map(|c| c.last)),
                    (number, Some(number))
                );
                assert_eq!(stored.payload, number.to_string());
            }
            messages.restarts()
        }));
    }
    let (progress, mut published) = tokio::sync::watch::channel(0);
    let publisher = tokio::spawn(publish_all(carrier.clone(), COUNT, progress));
    for kill in 1..=KILLS {
        let enough = |number: &u64| *number >= kill * COUNT / (KILLS + 1);
        let wait = tokio::time::timeout(PATIENCE, published.wait_for(enough)).await;
        let _ = wait.expect("progress in time").expect("a publisher");
        server.kill();
        server.run();
        connected(&carrier, kill + 1).await;
        connected(&reader, kill + 1).await;
    }
    let limit = PATIENCE * 2;
    tokio::time::timeout(limit, publisher).await.expect("in time").expect("all published");
    for reading in series {
        let restarts = tokio::time::timeout(limit, reading).await.expect("in time").expect("all");
        assert!(restarts >= KILLS, "expected a restart a kill: {restarts}");
    }
    let state = carrier.stream_state(&StreamLimits::default()).await.expect("a state");
    assert_eq!((state.last, state.messages), (COUNT, COUNT), "expected each message once");
}

async fn dead_server_is_noticed(program: PathBuf) {
    let (server, carrier) = setup(&program).await;
    server.signal("STOP");
    let why = disconnected(&carrier).await;
    assert!(why.contains("ended"), "{why}");
    let refused = carrier.publish(SUBJECT, None, "1".into(), 0).await;
    assert!(matches!(refused, Err(PublishError::NotConnected { .. })), "{refused:?}");
    server.signal("CONT");
    connected(&carrier, 2).await;
    carrier.publish(SUBJECT, None, "1".into(), 0).await.expect("stored");
}

async fn api(client: &Client, what: &str, body: &str) {
    let reply = client.request(format!("$JS.API.{what}"), body.to_owned().into()).await;
    let reply = String::from_utf8_lossy(&reply.expect("a reply").payload).into_owned();
    assert!(!reply.contains("\"error\""), "{reply}");
}

async fn events_of_the_stream_are_errors(program: PathBuf) {
    let (server, carrier) = setup(&program).await;
    let admin = async_nats::connect(server.url()).await.expect("a client");
    let mut messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    for last in 0..5 {
        carrier.publish(SUBJECT, None, "1".into(), last).await.expect("stored");
        next(&mut messages).await.expect("a message");
    }
    // A purge after everything was read.
    api(&admin, "STREAM.PURGE.MOOT", "").await;
    let purged = next(&mut messages).await.expect_err("a purge");
    assert_eq!(purged, ConsumeError::Purged { stream: "MOOT".to_owned(), first: 6 });
    assert!(messages.next().await.is_none(), "expected the end");
    // The caller that had read everything continues; another one has lost messages.
    let mut messages = carrier.consume(Filter::All, 6).await.expect("a consumer");
    let removed = carrier.consume(Filter::All, 3).await.expect_err("lost messages");
    assert_eq!(removed, ConsumeError::Removed { stream: "MOOT".to_owned(), wanted: 3, first: 6 });
    let ahead = carrier.consume(Filter::All, 9).await.expect_err("no such position");
    assert_eq!(ahead, ConsumeError::RolledBack { stream: "MOOT".to_owned(), position: 8, last: 5 });
    // The next publication after a purge expects nothing, or its last sequence is wrong.
    let wrong = carrier.publish(SUBJECT, None, "1".into(), 5).await;
    assert!(matches!(wrong, Err(PublishError::WrongLast { .. })), "{wrong:?}");
    assert_eq!(carrier.publish(SUBJECT, None, "1".into(), 0).await, Ok(6));
    assert_eq!(next(&mut messages).await.expect("a message").sequence, 6);
    api(&admin, "STREAM.DELETE.MOOT", "").await;
    let deleted = next(&mut messages).await.expect_err("a deletion");
    assert_eq!(deleted, ConsumeError::Deleted { stream: "MOOT".to_owned() });
    let deleted = carrier.consume(Filter::All, 7).await.expect_err("no stream");
    assert_eq!(deleted, ConsumeError::Deleted { stream: "MOOT".to_owned() });
}

async fn recreated_stream_is_an_error(program: PathBuf) {
    let (server, carrier) = setup(&program).await;
    let admin = async_nats::connect(server.url()).await.expect("a client");
    carrier.publish(SUBJECT, None, "1".into(), 0).await.expect("stored");
    let mut messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    next(&mut messages).await.expect("a message");
    api(&admin, "STREAM.DELETE.MOOT", "").await;
    carrier.create_stream(&StreamLimits::default()).await.expect("a stream");
    carrier.publish(SUBJECT, None, "1".into(), 0).await.expect("stored");
    let error = next(&mut messages).await.expect_err("another stream");
    let recreated = matches!(error, ConsumeError::Recreated { .. } | ConsumeError::Deleted { .. });
    assert!(recreated, "{error:?}");
}

async fn deleted_store_is_an_error(program: PathBuf) {
    let (mut server, carrier) = setup(&program).await;
    carrier.publish(SUBJECT, None, "1".into(), 0).await.expect("stored");
    let mut messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    next(&mut messages).await.expect("a message");
    server.kill();
    std::fs::remove_dir_all(server.store()).expect("a removed store");
    server.run();
    let error = next(&mut messages).await.expect_err("no stream");
    assert_eq!(error, ConsumeError::Deleted { stream: "MOOT".to_owned() });
}

async fn removed_middle_is_an_error(program: PathBuf) {
    let (server, carrier) = setup(&program).await;
    let admin = async_nats::connect(server.url()).await.expect("a client");
    for last in 0..3 {
        carrier.publish(SUBJECT, None, "1".into(), last).await.expect("stored");
    }
    api(&admin, "STREAM.MSG.DELETE.MOOT", r#"{"seq":2}"#).await;
    let mut messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    assert_eq!(next(&mut messages).await.expect("a message").sequence, 1);
    let removed = next(&mut messages).await.expect_err("a hole");
    assert_eq!(removed, ConsumeError::Removed { stream: "MOOT".to_owned(), wanted: 2, first: 3 });
    let mut messages = carrier.consume(Filter::All, 3).await.expect("a consumer");
    assert_eq!(next(&mut messages).await.expect("a message").sequence, 3);
}

async fn lost_consumer_is_replaced(program: PathBuf) {
    let (server, carrier) = setup(&program).await;
    let admin = async_nats::connect(server.url()).await.expect("a client");
    let mut messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    for last in 0..20 {
        carrier.publish(SUBJECT, None, "1".into(), last).await.expect("stored");
        assert_eq!(next(&mut messages).await.expect("a message").sequence, last + 1);
        if last % 5 == 0 {
            let names = admin.request("$JS.API.CONSUMER.NAMES.MOOT", "".into()).await;
            let names: serde_json::Value =
                serde_json::from_slice(&names.expect("a reply").payload).expect("JSON");
            for name in names["consumers"].as_array().expect("names") {
                let name = name.as_str().expect("a name");
                api(&admin, &format!("CONSUMER.DELETE.MOOT.{name}"), "").await;
            }
        }
    }
    assert!(messages.restarts() >= 4, "expected 4 restarts: {}", messages.restarts());
}

async fn slow_caller_loses_nothing(program: PathBuf) {
    const COUNT: u64 = 400;
    let (server, carrier) = setup(&program).await;
    let reader = server.carrier("b").await;
    let mut messages = reader.consume(Filter::All, 0).await.expect("a consumer");
    for last in 0..COUNT {
        let payload = vec![b'x'; 20_000];
        carrier.publish(SUBJECT, None, payload.into(), last).await.expect("stored");
    }
    // Longer than a request lives, so that the server ends it while the caller waits.
    tokio::time::sleep(Duration::from_secs(33)).await;
    for number in 1..=COUNT {
        assert_eq!(next(&mut messages).await.expect("a message").sequence, number);
    }
    assert_eq!(reader.publish("moot.1.n.b", None, "1".into(), 0).await, Ok(COUNT + 1));
    assert_eq!(next(&mut messages).await.expect("a message").sequence, COUNT + 1);
}

async fn idle_consumer_is_not_replaced(program: PathBuf) {
    let (_server, carrier) = setup(&program).await;
    let mut messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    // Longer than a request lives.
    let idle = tokio::time::timeout(Duration::from_secs(33), messages.next()).await;
    assert!(idle.is_err(), "expected nothing: {idle:?}");
    assert_eq!(messages.restarts(), 0);
    carrier.publish(SUBJECT, None, "1".into(), 0).await.expect("stored");
    assert_eq!(next(&mut messages).await.expect("a message").sequence, 1);
    assert_eq!(messages.restarts(), 0);
}

async fn dropped_messages_leave_no_consumer(program: PathBuf) {
    let (server, carrier) = setup(&program).await;
    let admin = async_nats::connect(server.url()).await.expect("a client");
    let messages = carrier.consume(Filter::All, 0).await.expect("a consumer");
    let count = async || {
        let info = admin.request("$JS.API.STREAM.INFO.MOOT", "".into()).await.expect("a reply");
        let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("JSON");
        info["state"]["consumer_count"].as_u64()
    };
    assert_eq!(count().await, Some(1));
    drop(messages);
    let removed = async {
        while count().await != Some(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, removed).await.expect("the consumer is removed");
}

on_both_versions!(
    no_hole_over_kills,
    dead_server_is_noticed,
    events_of_the_stream_are_errors,
    recreated_stream_is_an_error,
    deleted_store_is_an_error,
    removed_middle_is_an_error,
    lost_consumer_is_replaced,
    dropped_messages_leave_no_consumer,
    #[ignore = "half a minute"]
    slow_caller_loses_nothing,
    #[ignore = "half a minute"]
    idle_consumer_is_not_replaced,
);
