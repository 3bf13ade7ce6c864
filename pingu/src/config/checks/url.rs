//! URLs of HTTP checks: scheme, host, port, and what the request line says.

use std::{fmt, net::IpAddr};

use hickory_proto::rr::Name;
use hyper::Uri;

/// An `http` or `https` URL without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// It is HTTPS.
    pub tls: bool,
    /// The host: a name or an address, the latter without brackets.
    pub host: String,
    /// The port, the scheme's own if the URL names none.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Url {
    /// Reads a URL; else says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err("it begins with neither http:// nor https://"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it has a user, which is not sent");
        }
        if text.contains('#') {
            return Err("it has a fragment, which is not sent");
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
            return Err("its host is neither a name nor an address");
        }
        let own_port = if tls { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()),
            // A colon without digits behind it.
            None if authority.as_str().ends_with(':') => None,
            None => Some(own_port),
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: port.filter(|port| *port != 0).ok_or("its port is none")?,
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// The host, where it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Host and, unless it is the scheme's own, port: what the `Host` header says.
    pub fn authority(&self) -> String {
        let host = match self.address() {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(IpAddr::V4(_)) | None => self.host.clone(),
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Whether a text is a name that can be looked up: letters, digits, `-` and `_` in labels of at most 63.
pub(super) fn is_host_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_good = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    labels.split('.').all(is_good) && Name::from_ascii(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_reads_back_as_it_is_written() {
        for (text, written) in [
            ("http://example.com", "http://example.com/"),
            ("https://example.com:443/a?b=c", "https://example.com/a?b=c"),
            (
                "http://192.0.2.1:8080/generate_204",
                "http://192.0.2.1:8080/generate_204",
            ),
            ("https://[2001:db8::1]/", "https://[2001:db8::1]/"),
            ("http://[2001:db8::1]:81", "http://[2001:db8::1]:81/"),
        ] {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), written);
            assert_eq!(Url::parse(written).as_ref(), Ok(&url));
        }
    }

    #[test]
    fn what_is_no_url_of_a_host_is_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com/",
            "http://",
            "http://user@example.com/",
            "http://example.com/#there",
            "http://exa mple.com/",
            "http://a..b/",
            "http://example.com:0/",
            "http://example.com:/",
            "http://[2001:db8::1/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
