//! Publications and their refusals, limits, and errors of the first connection.

use std::{path::PathBuf, process::Command, time::Duration};

use moot::link::{
    CarrierSettings, Credentials, StreamLimits,
    carrier::{Carrier, CarrierConnectError, CarrierError, ExportCursor, PublishError},
};

use super::carrier_server::{Server, connected, disconnected, on_both_versions, users};

async fn second_publisher_is_refused(program: PathBuf) {
    let server = Server::start(&program, "");
    let (one, two) = (server.carrier("a").await, server.carrier("a").await);
    one.create_stream(&StreamLimits::default()).await.expect("a stream");
    assert_eq!(one.publish("moot.1.r.x.a", None, "1".into(), 0).await, Ok(1));
    let refused = two.publish("moot.1.r.x.a", None, "1".into(), 0).await;
    let wrong = |found| PublishError::WrongLast { subject: "moot.1.r.x.a".to_owned(), found };
    assert_eq!(refused, Err(wrong(Some(1))));
    assert_eq!(two.publish("moot.1.r.x.a", None, "2".into(), 1).await, Ok(2));
    assert_eq!(one.publish("moot.1.r.x.a", None, "2".into(), 1).await, Err(wrong(Some(2))));
    // Another subject has its own last message.
    assert_eq!(one.publish("moot.1.r.y.a", None, "1".into(), 0).await, Ok(3));
    let state = one.stream_state(&StreamLimits::default()).await.expect("a state");
    assert_eq!((state.first, state.last, state.messages), (1, 3, 3));
}

async fn repeat_after_unknown_outcome_is_recognized(program: PathBuf) {
    let mut server = Server::start(&program, "");
    let carrier = server.carrier("a").await;
    carrier.create_stream(&StreamLimits::default()).await.expect("a stream");
    let subject = "moot.1.r.x.a";
    let cursor = |last| Some(ExportCursor { generation: 1, last });
    assert_eq!(carrier.publish(subject, cursor(1), "1".into(), 0).await, Ok(1));
    // A server that is stopped, and killed while the confirmation is missing.
    server.signal("STOP");
    let publish = carrier.publish(subject, cursor(2), "2".into(), 1);
    let outcome = tokio::time::timeout(Duration::from_secs(10), publish).await.expect("no hang");
    assert!(matches!(outcome, Err(PublishError::Unknown { .. })), "{outcome:?}");
    disconnected(&carrier).await;
    let outcome = carrier.publish(subject, cursor(2), "2".into(), 1).await;
    assert!(matches!(outcome, Err(PublishError::NotConnected { .. })), "{outcome:?}");
    server.kill();
    server.run();
    connected(&carrier, 2).await;
    // The cursor says whether it was stored; if it was not, the repetition is accepted once.
    let tail = carrier.tail(subject).await.expect("a tail");
    let sequence = match tail.cursor {
        Some(ExportCursor { last: 2, .. }) => tail.sequence,
        _ => carrier.publish(subject, cursor(2), "2".into(), 1).await.expect("stored"),
    };
    assert_eq!(sequence, 2, "expected the message to be stored once");
    let repeat = carrier.publish(subject, cursor(2), "2".into(), 1).await;
    assert!(matches!(repeat, Err(PublishError::WrongLast { found: Some(2), .. })), "{repeat:?}");
}

async fn limits_are_told_apart(program: PathBuf) {
    let server = Server::start(&program, "max_payload: 64KB");
    let carrier = server.carrier("a").await;
    let none = carrier.publish("moot.1.r.x.a", None, "1".into(), 0).await;
    assert!(matches!(none, Err(PublishError::NoStream { .. })), "{none:?}");
    assert!(matches!(
        carrier.stream_state(&StreamLimits::default()).await,
        Err(CarrierError::NoStream { .. })
    ));
    let raw = async_nats::connect(server.url()).await.expect("a client");
    let config = r#"{"name":"MOOT","subjects":["moot.1.r.>"],"storage":"memory","discard":"new","max_bytes":3000,"max_age":60000000000,"max_msg_size":1500}"#;
    raw.request("$JS.API.STREAM.CREATE.MOOT", config.into()).await.expect("a stream");
    let large = carrier.publish("moot.1.r.x.a", None, vec![b'x'; 70_000].into(), 0).await;
    assert!(matches!(large, Err(PublishError::TooLarge { bytes: 70_000, .. })), "{large:?}");
    let large = carrier.publish("moot.1.r.x.a", None, vec![b'x'; 2_000].into(), 0).await;
    assert!(matches!(large, Err(PublishError::TooLarge { bytes: 2_000, .. })), "{large:?}");
    let none = carrier.publish("moot.1.n.a", None, "1".into(), 0).await;
    assert!(matches!(none, Err(PublishError::NoStream { .. })), "{none:?}");
    let mut last = 0;
    let full = loop {
        match carrier.publish("moot.1.r.x.a", None, vec![b'x'; 1_200].into(), last).await {
            Ok(sequence) => last = sequence,
            Err(e) => break e,
        }
    };
    assert!(matches!(full, PublishError::Full { .. }), "{full:?}");
    let state = carrier.stream_state(&StreamLimits::default()).await;
    assert!((1..4).contains(&last), "expected a few messages: {last} {full:?} {state:?}");
    let state = carrier.stream_state(&StreamLimits::default()).await.expect("a state");
    let found = state.differences.join("\n");
    for key in ["memory", "discards new", "moot.1.n.*", "moot.1.a.>", "60 s", "3000", "1500"] {
        assert!(found.contains(key), "expected {key} in {found}");
    }
    let refused = carrier.create_stream(&StreamLimits::default()).await;
    assert!(matches!(refused, Err(CarrierError::Refused { code: 10_058, .. })), "{refused:?}");
}

async fn created_stream_has_no_differences(program: PathBuf) {
    let server = Server::start(&program, "");
    let carrier = server.carrier("a").await;
    let state = carrier.create_stream(&StreamLimits::default()).await.expect("a stream");
    assert_eq!(state.differences, [""; 0]);
    assert_eq!((state.first, state.last, state.messages), (1, 0, 0));
    let again = carrier.create_stream(&StreamLimits::default()).await.expect("the same stream");
    assert_eq!(again, state);
    let longer = StreamLimits { max_age: Duration::ZERO, ..StreamLimits::default() };
    let state = carrier.stream_state(&longer).await.expect("a state");
    assert_eq!(state.differences.len(), 1, "{state:?}");
}

async fn connect_errors_say_the_reason(program: PathBuf) {
    let mut server = Server::start(&program, &users());
    let settings = server.settings("a");
    let rejected = Carrier::connect(&settings).await.expect_err("no user");
    assert!(matches!(rejected, CarrierConnectError::Credentials { .. }), "{rejected:?}");
    let rejected = server.login("a", "nobody").await.expect_err("a wrong user");
    assert!(matches!(rejected, CarrierConnectError::Credentials { .. }), "{rejected:?}");
    let missing =
        CarrierSettings { credentials: Credentials::File("/nonexistent".into()), ..settings };
    let missing = Carrier::connect(&missing).await.expect_err("no file").to_string();
    assert!(missing.contains("/nonexistent"), "{missing}");
    let refused_settings = server.settings("a");
    server.kill();
    let refused = Carrier::connect(&refused_settings).await.expect_err("no server");
    assert!(matches!(refused, CarrierConnectError::Refused { .. }) && refused.is_temporary());
}

async fn server_without_jetstream_is_named(program: PathBuf) {
    let server =
        Server::start(&program, "accounts { A { users: [ { user: a, password: secret } ] } }");
    let error = server.login("a", "a").await.expect_err("no JetStream");
    assert_eq!(error, CarrierConnectError::JetStream(CarrierError::NoJetStream));
}

fn certificate(dir: &std::path::Path) {
    let status = Command::new("openssl")
        .current_dir(dir)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=moot"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .expect("openssl");
    assert!(status.status.success(), "{status:?}");
}

async fn tls_needs_the_authority(program: PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    certificate(dir.path());
    let file = |name| dir.path().join(name);
    let tls =
        format!("tls {{ cert_file: {:?}, key_file: {:?} }}", file("cert.pem"), file("key.pem"));
    let server = Server::start(&program, &tls);
    let mut settings = server.settings("a");
    let error = Carrier::connect(&settings).await.expect_err("an unknown authority");
    assert!(matches!(&error, CarrierConnectError::Tls { .. }), "{error:?}");
    settings.ca_file = Some(file("cert.pem"));
    let carrier = Carrier::connect(&settings).await.expect("a connection");
    assert!(carrier.server().tls);
    settings.url = settings.url.replace("nats://", "tls://");
    Carrier::connect(&settings).await.expect("a connection");
    let plain = Server::start(&program, "");
    settings.url = plain.url().replace("nats://", "tls://");
    let error = Carrier::connect(&settings).await.expect_err("no TLS at the server");
    assert!(
        matches!(&error, CarrierConnectError::Tls { .. } | CarrierConnectError::Io { .. }),
        "{error:?}"
    );
}

on_both_versions!(
    second_publisher_is_refused,
    repeat_after_unknown_outcome_is_recognized,
    limits_are_told_apart,
    created_stream_has_no_differences,
    connect_errors_say_the_reason,
    server_without_jetstream_is_named,
    tls_needs_the_authority,
);
