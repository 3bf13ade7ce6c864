//! Requests by HTTP/1.1, with or without TLS, and what their answers say: the server itself, or a captive portal in its place.

use std::{
    error::Error,
    future::pending,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, HeaderName, LOCATION,
        USER_AGENT,
    },
    http::uri::Authority,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
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

/// All that is read of an answer, with what cuts its body into chunks and whatever else comes before it.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// How rustls names a server's certificate that is an authority's.
const AUTHORITY_S_OWN: &str = "CaUsedAsEndEntity";

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
    if !url.tls {
        return exchange(stream, check, peer, deadline).await;
    }
    let name =
        ServerName::try_from(url.host.clone()).map_err(|error| Failure::local(&url.host, error))?;
    let config = tls::config(check).await?;
    let shake = async {
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        shaken.map_err(|error| tls_failure(&url.host, &error))
    };
    let stream = step(deadline, format!("TLS with {peer} does not get on"), shake).await?;
    exchange(stream, check, peer, deadline).await
}

fn tls_failure(host: &str, error: &std::io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(inner @ rustls::Error::InvalidCertificate(_)) => {
            let mut said = inner.to_string();
            if said.contains(AUTHORITY_S_OWN) {
                said = "it shows an authority's own, as most self-signed ones are, and none that an authority signed for it".to_owned();
            }
            Failure::new(
                Cause::Tls,
                format!("the server has no right certificate for {host}: {said}"),
            )
        }
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
    peer: SocketAddr,
    deadline: Instant,
) -> CheckOutcome {
    let broken = |error| broken(&check.url, &error);
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(read.take(ANSWER_BYTES_MAX), write);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = request(&check.url).map_err(|error| Failure::local(&check.url, error))?;
    let exchange = async {
        let doing = format!("{peer} accepts the connection, but does not answer");
        let head = async { sender.send_request(request).await.map_err(broken) };
        let mut response = step(deadline, doing, head).await?;
        let mut answer = Answer::new(&response);
        // What else than the right status says enough without its body.
        if let Some(wanted) = &check.body
            && answer.is_right(check)
        {
            let status = answer.status;
            let doing = format!("{peer} answers {status}, but the expected text does not come");
            let look = async { has_text(&mut response, wanted).await.map_err(broken) };
            answer.has_text = step(deadline, doing, look).await?;
        }
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

fn header(response: &Response<Incoming>, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether the beginning of the body has a text. A body that breaks off before it says nothing of what would have followed.
async fn has_text(response: &mut Response<Incoming>, wanted: &str) -> Result<bool, hyper::Error> {
    let wanted = wanted.as_bytes();
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
    /// How the body is encoded, which nobody has asked for.
    encoding: Option<String>,
    has_text: bool,
}

impl Answer {
    /// One without a look at its body.
    fn new(response: &Response<Incoming>) -> Self {
        let encoding = header(response, CONTENT_ENCODING);
        Self {
            status: response.status().as_u16(),
            location: header(response, LOCATION),
            encoding: encoding.filter(|word| !word.eq_ignore_ascii_case("identity")),
            has_text: true,
        }
    }

    /// Its status is right.
    fn is_right(&self, check: &HttpCheck) -> bool {
        check.status.iter().any(|range| range.has(self.status))
    }

    /// Says whether it is right; if not, whether the server says so or somebody in its place.
    fn judge(&self, check: &HttpCheck) -> CheckOutcome {
        let status = self.status;
        let is_right = self.is_right(check);
        if is_right && self.has_text {
            return Ok(format!("answers {status}"));
        }
        // Who has the right certificate is the server.
        let is_server = check.url.tls && check.verify;
        let what = match &self.location {
            Some(location) => format!("{status} to {}", shown(location)),
            None if is_right => match &self.encoding {
                Some(word) => format!(
                    "{status} without the expected text (its body is encoded: {})",
                    shown(word)
                ),
                None => format!("{status} without the expected text"),
            },
            None => status.to_string(),
        };
        let leads_away = self
            .location
            .as_ref()
            .is_some_and(|location| !is_same_host(location, &check.url));
        let is_portal = match status {
            _ if is_server => false,
            STATUS_AUTHENTICATION_REQUIRED => true,
            300..400 if self.location.is_some() => leads_away,
            500.. => false,
            _ => true,
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

/// Whether a redirection stays where it is. It may leave out its scheme and name a host all the same, or be relative to what was asked
/// for (RFC 3986 section 4.2).
fn is_same_host(location: &str, url: &Url) -> bool {
    let (scheme, rest) = match location.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, location),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return scheme.is_none();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.parse::<Authority>().is_ok_and(|authority| {
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case(&url.host)
    })
}

/// Whether this may stand before the colon of a URL (RFC 3986 section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// What a stranger sent, fit for a log.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests;
