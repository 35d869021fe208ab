//! First connection to the carrier, with the reason if it fails.

use std::{error::Error, io, sync::Arc, time::Duration};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr, rustls};

use super::{
    error::CarrierConnectError,
    monitor::{ConnectionState, Monitor},
    settings::{CarrierSettings, Credentials},
};

/// Pause before the second attempt to reconnect; the pause doubles with each attempt.
const RECONNECT_PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Messages that one subscription may hold unread; more are dropped, so that a host which floods
/// the presence subject can't fill the memory. Consumers request less.
const SUBSCRIPTION_CAPACITY: usize = 512;

/// Connects once, without attempts to reconnect before the first connection.
pub(super) async fn connect(
    settings: &CarrierSettings,
    monitor: &Arc<Monitor>,
) -> Result<Client, CarrierConnectError> {
    let servers = servers(settings)?;
    let options = options(settings, monitor).await?;
    let client = options.connect(servers).await.map_err(|e| classify(&e, settings))?;
    let connected = |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
    let mut state = monitor.state();
    let wait = tokio::time::timeout(settings.reply_timeout, state.wait_for(connected));
    match wait.await {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(_)) | Err(_) => Err(CarrierConnectError::TimedOut { url: settings.url.clone() }),
    }
}

fn servers(settings: &CarrierSettings) -> Result<Vec<ServerAddr>, CarrierConnectError> {
    let host = &settings.host;
    let token = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    if host.is_empty() || !host.bytes().all(token) {
        return Err(CarrierConnectError::Settings(format!(
            "the host name {host:?} is not usable; use a-z, 0-9, '_' and '-'"
        )));
    }
    let mut servers = Vec::new();
    for url in settings.url.split(',') {
        let server: ServerAddr = url.trim().parse().map_err(|e| {
            CarrierConnectError::Settings(format!(
                "can't read the address {url:?}: {e}; use nats://HOST:PORT or tls://HOST:PORT"
            ))
        })?;
        if server.has_user_pass() {
            return Err(CarrierConnectError::Settings(
                "the address of the NATS server has a user or password in it; use --creds FILE, \
                 or --user USER with --password-file FILE"
                    .to_owned(),
            ));
        }
        if !matches!(server.scheme(), "nats" | "tls") {
            return Err(CarrierConnectError::Settings(format!(
                "the address {url:?} begins with {}://; use nats:// or tls://",
                server.scheme()
            )));
        }
        servers.push(server);
    }
    Ok(servers)
}

async fn options(
    settings: &CarrierSettings,
    monitor: &Arc<Monitor>,
) -> Result<ConnectOptions, CarrierConnectError> {
    let pause_max = settings.reconnect_pause_max;
    let events = Arc::clone(monitor);
    let mut options = ConnectOptions::new()
        .name(format!("moot-link {}", settings.host))
        .custom_inbox_prefix(settings.inbox_prefix())
        .connection_timeout(settings.reply_timeout)
        .ping_interval(settings.ping_interval)
        .max_reconnects(None)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(move |attempt| pause(attempt, pause_max))
        .event_callback(move |event| {
            events.apply(event);
            std::future::ready(())
        });
    if let Some(path) = &settings.ca_file {
        std::fs::File::open(path).map_err(|e| {
            CarrierConnectError::Settings(format!(
                "can't read the certificate authorities ({}): {e}",
                path.display()
            ))
        })?;
        options = options.add_root_certificates(path.clone());
    }
    match &settings.credentials {
        Credentials::None => Ok(options),
        Credentials::Password { user, password } => {
            Ok(options.user_and_password(user.clone(), password.clone()))
        }
        Credentials::File(path) => options.credentials_file(path).await.map_err(|e| {
            CarrierConnectError::Settings(format!(
                "can't read credentials ({}): {e}",
                path.display()
            ))
        }),
    }
}

fn pause(attempt: usize, max: Duration) -> Duration {
    let doublings = attempt.saturating_sub(2).min(16);
    match attempt {
        0 | 1 => Duration::ZERO,
        _ => (RECONNECT_PAUSE_FIRST * (1 << doublings)).min(max),
    }
}

fn classify(error: &async_nats::ConnectError, settings: &CarrierSettings) -> CarrierConnectError {
    let url = settings.url.clone();
    let why = root_cause(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            CarrierConnectError::Credentials { url, host: settings.host.clone() }
        }
        ConnectErrorKind::Dns => CarrierConnectError::Dns { url, why },
        ConnectErrorKind::TimedOut => CarrierConnectError::TimedOut { url },
        ConnectErrorKind::Tls => CarrierConnectError::Tls { url, why },
        ConnectErrorKind::ServerParse => CarrierConnectError::Settings(why),
        ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => match io_cause(error) {
            Some(cause) if is_tls(cause) => CarrierConnectError::Tls { url, why },
            Some(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                CarrierConnectError::Refused { url }
            }
            Some(_) | None => CarrierConnectError::Io { url, why },
        },
    }
}

fn io_cause(error: &async_nats::ConnectError) -> Option<&io::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn root_cause(error: &async_nats::ConnectError) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_pauses_double_up_to_the_maximum() {
        let max = Duration::from_secs(2);
        let pauses: Vec<u128> = (1..10).map(|attempt| pause(attempt, max).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(usize::MAX, max), max);
    }

    #[test]
    fn password_in_address_is_rejected() {
        let settings = CarrierSettings::new("nats://u:p@h:4222", "web1");
        let error = servers(&settings).expect_err("a rejection").to_string();
        assert!(error.contains("--password-file"), "expected the option to use: {error}");
        assert!(
            servers(&CarrierSettings::new("nats://h", "Web.1")).is_err(),
            "expected no such host"
        );
    }
}
