//! Requests by HTTP/1.1, with or without TLS, and what their answers say: the server itself, or a captive portal in its place.

use std::{error::Error, future::pending, net::IpAddr, time::Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, pki_types::ServerName},
};

use super::{bound, dns, meter::Line, step, tls};
use crate::{
    config::{HttpCheck, Url},
    engine::check::{Cause, CheckOutcome, Failure},
};

/// So much of a body is looked at.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A head that is longer is no answer to us; the least that hyper takes.
const HEAD_BYTES_MAX: usize = 8192 * 2;

const SHOWN_MAX: usize = 200;

const STATUS_AUTHENTICATION_REQUIRED: u16 = 511;

const AGENT: &str = concat!("pingu/", env!("CARGO_PKG_VERSION"));

/// Runs an `http` or `https` check.
pub(super) async fn run(way: &Line<'_>, check: &HttpCheck, deadline: Instant) -> CheckOutcome {
    let url = &check.url;
    let addresses = match check.address.or(url.address()) {
        Some(address) => vec![address],
        None => dns::resolve(way, &check.resolvers, &url.host, deadline).await?,
    };
    let mut outcome = Err(Failure::local("no address", &url.host));
    for (index, address) in addresses.iter().enumerate() {
        outcome = ask(way, check, *address, deadline).await;
        let is_last = index + 1 == addresses.len();
        match &outcome {
            Err(failure) if !is_last && is_of_the_host(failure.cause) => {}
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// Another address of the same name may do.
fn is_of_the_host(cause: Cause) -> bool {
    matches!(cause, Cause::Refused | Cause::Unreachable | Cause::Local)
}

async fn ask(
    way: &Line<'_>,
    check: &HttpCheck,
    address: IpAddr,
    deadline: Instant,
) -> CheckOutcome {
    let url = &check.url;
    let peer = bound::at(address, url.port);
    let stream = bound::connect(way, peer, deadline).await?;
    let doing = format!("{peer} accepts the connection, but does not answer");
    if !url.tls {
        return step(deadline, doing, exchange(stream, check)).await;
    }
    let name =
        ServerName::try_from(url.host.clone()).map_err(|error| Failure::local(&url.host, error))?;
    let config = tls::config(check).await?;
    let shake = async {
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        shaken.map_err(|error| tls_failure(&url.host, &error))
    };
    let stream = step(deadline, format!("TLS with {peer} does not get on"), shake).await?;
    step(deadline, doing, exchange(stream, check)).await
}

fn tls_failure(host: &str, error: &std::io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(inner @ rustls::Error::InvalidCertificate(_)) => Failure::new(
            Cause::Tls,
            format!("the server has no right certificate for {host}: {inner}"),
        ),
        Some(inner) => Failure::new(Cause::Tls, format!("no TLS with {host}: {inner}")),
        None => Failure {
            cause: Cause::Tls,
            ..bound::failure(format!("no TLS with {host}"), error)
        },
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    check: &HttpCheck,
) -> CheckOutcome {
    let broken = |error| broken(&check.url, &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = request(&check.url).map_err(|error| Failure::local(&check.url, error))?;
    let exchange = async {
        let mut response = sender.send_request(request).await.map_err(broken)?;
        let answer = Answer {
            status: response.status().as_u16(),
            location: location(&response),
            has_text: has_text(&mut response, check.body.as_deref())
                .await
                .map_err(broken)?,
        };
        answer.judge(check)
    };
    // A connection that has ended may have left everything that is wanted.
    let drive = async {
        let _ = connection.await;
        pending().await
    };
    tokio::select! {
        outcome = exchange => outcome,
        never = drive => never,
    }
}

/// What an error of the connection, or of what came by it, says.
fn broken(url: &Url, error: &hyper::Error) -> Failure {
    let host = url.authority();
    let cause = error.source().map(|cause| format!(": {cause}"));
    let cause = cause.unwrap_or_default();
    let text = if error.is_parse() {
        format!("{host} does not speak HTTP: {error}{cause}")
    } else {
        format!("{host} breaks off: {error}{cause}")
    };
    Failure::new(Cause::Broken, text)
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    Request::get(&url.path)
        .header(HOST, url.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .body(Empty::new())
}

fn location(response: &Response<Incoming>) -> Option<String> {
    let value = response.headers().get(LOCATION)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether the beginning of the body has a text. A body that breaks off before it says nothing of what would have followed.
async fn has_text(
    response: &mut Response<Incoming>,
    wanted: Option<&str>,
) -> Result<bool, hyper::Error> {
    let Some(wanted) = wanted.map(str::as_bytes) else {
        return Ok(true);
    };
    let mut body: Vec<u8> = Vec::new();
    while body.len() < BODY_BYTES_MAX {
        let Some(frame) = response.frame().await.transpose()? else {
            break;
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let known = body.len().saturating_sub(wanted.len());
        let room = BODY_BYTES_MAX - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if body[known..]
            .windows(wanted.len())
            .any(|part| part == wanted)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What came back.
struct Answer {
    status: u16,
    location: Option<String>,
    has_text: bool,
}

impl Answer {
    /// Says whether it is right; if not, whether the server says so or somebody in its place.
    fn judge(&self, check: &HttpCheck) -> CheckOutcome {
        let status = self.status;
        let is_right = check.status.iter().any(|range| range.has(status));
        if is_right && self.has_text {
            return Ok(format!("answers {status}"));
        }
        // Who has the right certificate is the server.
        let is_server = check.url.tls && check.verify;
        let what = match &self.location {
            Some(location) => format!("{status} to {}", shown(location)),
            None if is_right => format!("{status} without the expected text"),
            None => status.to_string(),
        };
        let leads_away = self
            .location
            .as_ref()
            .is_some_and(|location| !is_same_host(location, &check.url));
        let is_portal = match status {
            STATUS_AUTHENTICATION_REQUIRED => true,
            300..400 if self.location.is_some() => leads_away,
            500.. => false,
            _ => !is_server,
        };
        if is_portal {
            return Err(Failure::new(
                Cause::Portal,
                format!("captive portal: {what}"),
            ));
        }
        let cause = if is_right { Cause::Body } else { Cause::Status };
        Err(Failure::new(cause, format!("answers {what}")))
    }
}

/// Whether a redirection stays where it is. One may leave out its scheme, and name a host all the same (RFC 3986 section 4.2).
fn is_same_host(location: &str, url: &Url) -> bool {
    let parsed = if location.starts_with("//") {
        format!("http:{location}").parse::<Uri>()
    } else {
        location.parse()
    };
    let Ok(target) = parsed else {
        return false;
    };
    match target.host() {
        None => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case(&url.host)
        }
    }
}

/// What a stranger sent, fit for a log.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests;
