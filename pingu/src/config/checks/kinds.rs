//! The keys of each kind of check.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::PathBuf,
};

use toml::{Spanned, de::DeValue};

use super::{
    CheckKind, DnsCheck, ExecCheck, HttpCheck, MtuCheck, RecordKind, StatusRange, Url,
    url::is_host_name,
};
use crate::config::{
    check::address_fault,
    command,
    keys::{self, CheckWord},
    policy::small,
    reader::Reader,
};

/// Every host takes IPv4 packets of 576 bytes (RFC 791); 1280 are the least of IPv6.
const SIZE_BYTES: [u32; 2] = [576, 65_535];
const SIZE_BYTES_MIN_V6: u16 = 1280;

const RESOLVERS_MAX: usize = 4;
const EXPECT_MAX: usize = 64;
const STATUS_MAX: usize = 16;
const BODY_BYTES_MAX: usize = 1024;

/// The name of the root, whose name servers every resolver knows.
const ROOT: &str = ".";

const KEYS: [&str; 14] = [
    "address", "url", "status", "body", "resolver", "ca_file", "verify", "name", "type", "expect",
    "command", "target", "size", "query",
];

/// What the check tries; none with an error said.
pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Option<CheckKind> {
    if !reader.has("kind") {
        let words: Vec<String> = keys::CHECK_KINDS
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect();
        let key = reader.key("kind");
        let message = format!("`{key}` is needed: one of {}", words.join(", "));
        reader.missing(reader.span.clone(), message);
    }
    let Some(kind) = reader.choice("kind", &keys::CHECK_KINDS) else {
        // Which keys are right is not known.
        for key in KEYS {
            reader.value(key);
        }
        return None;
    };
    match kind.value {
        CheckWord::Tcp => tcp(reader).map(CheckKind::Tcp),
        CheckWord::Http => http(reader, false).map(CheckKind::Http),
        CheckWord::Https => http(reader, true).map(CheckKind::Http),
        CheckWord::Dns => dns(reader).map(CheckKind::Dns),
        CheckWord::Exec => exec(reader).map(CheckKind::Exec),
        CheckWord::Mtu => mtu(reader).map(CheckKind::Mtu),
    }
}

fn needed(reader: &mut Reader<'_, '_, '_>, key: &'static str, allowed: &str) {
    if !reader.has(key) {
        let message = format!("`{}` is needed: {allowed}", reader.key(key));
        reader.missing(reader.span.clone(), message);
    }
}

fn tcp(reader: &mut Reader<'_, '_, '_>) -> Option<SocketAddr> {
    const ALLOWED: &str = "an address of a single host and a port, such as \"192.0.2.1:443\" or \"[2001:db8::1]:443\"";
    needed(reader, "address", ALLOWED);
    let found = reader.string("address")?;
    let address: Option<SocketAddr> = found.value.parse().ok();
    match address.filter(|address| address.port() != 0 && address_fault(address.ip()).is_none()) {
        Some(address) => Some(address),
        None => reader.wrong("address", found.span, ALLOWED),
    }
}

/// One address of a single host.
#[expect(
    clippy::option_option,
    reason = "absent is good and wrong is not; only one of them has been said"
)]
fn address(reader: &mut Reader<'_, '_, '_>, key: &'static str) -> Option<Option<IpAddr>> {
    const ALLOWED: &str = "the address of a single host, in quotes";
    if !reader.has(key) {
        reader.value(key);
        return Some(None);
    }
    let found = reader.string(key)?;
    let address: Option<IpAddr> = found.value.parse().ok();
    match address.filter(|address| address_fault(*address).is_none()) {
        Some(address) => Some(Some(address)),
        None => reader.wrong(key, found.span, ALLOWED),
    }
}

fn http(reader: &mut Reader<'_, '_, '_>, tls: bool) -> Option<HttpCheck> {
    let url = url(reader, tls);
    let status = status(reader);
    let body = body(reader);
    let address = address(reader, "address");
    let resolvers = resolvers(reader);
    let trust = tls.then(|| trust(reader));
    let url = url?;
    let resolvers = resolvers?;
    if url.address().is_none() && address == Some(None) && resolvers.is_empty() {
        let message = format!(
            "`{}` has a name as its host, which is looked up over the uplink: `resolver` says where, or `address` what it is",
            reader.key("url")
        );
        reader.missing(reader.span.clone(), message);
        return None;
    }
    let (ca_file, verify) = match trust {
        Some(trust) => trust?,
        None => (None, true),
    };
    Some(HttpCheck {
        url,
        status: status?,
        body: body?,
        address: address?,
        resolvers,
        ca_file,
        verify,
    })
}

fn url(reader: &mut Reader<'_, '_, '_>, tls: bool) -> Option<Url> {
    let scheme = if tls { "https" } else { "http" };
    needed(reader, "url", &format!("\"{scheme}://...\""));
    let found = reader.string("url")?;
    let fault = match Url::parse(&found.value) {
        Ok(url) if url.tls == tls => match url.address().and_then(address_fault) {
            None => return Some(url),
            Some(fault) => format!("its host is {fault}"),
        },
        Ok(_) => format!("of kind {scheme:?} it begins with {scheme}://"),
        Err(fault) => fault.to_owned(),
    };
    let message = format!("`{}` {:?}: {fault}", reader.key("url"), found.value);
    reader.error(found.span, message);
    None
}

/// The statuses that are right: a number, a class such as "2xx", or a list of them.
fn status(reader: &mut Reader<'_, '_, '_>) -> Option<Vec<StatusRange>> {
    const ALLOWED: &str =
        "a status from 100 to 599, a class such as \"2xx\", or a list of 1 to 16 of them";
    let Some(found) = reader.value("status") else {
        return Some(keys::CHECK_STATUS_DEFAULT.to_vec());
    };
    let items: Vec<&Spanned<DeValue<'_>>> = match found.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![found],
    };
    let read = |item: &&Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::Integer(number) => {
            let status = number.as_str().parse().ok()?;
            let is_one = (100..600).contains(&status);
            is_one.then_some(StatusRange {
                first: status,
                last: status,
            })
        }
        DeValue::String(class) => {
            let digit: u16 = class.strip_suffix("xx")?.parse().ok()?;
            (1..=5).contains(&digit).then_some(StatusRange {
                first: digit * 100,
                last: digit * 100 + 99,
            })
        }
        _ => None,
    };
    let all: Option<Vec<StatusRange>> = items.iter().map(read).collect();
    match all.filter(|all| (1..=STATUS_MAX).contains(&all.len())) {
        Some(all) => Some(all),
        None => reader.wrong("status", found.span(), ALLOWED),
    }
}

#[expect(
    clippy::option_option,
    reason = "absent is good and wrong is not; only one of them has been said"
)]
fn body(reader: &mut Reader<'_, '_, '_>) -> Option<Option<String>> {
    if !reader.has("body") {
        reader.value("body");
        return Some(None);
    }
    let found = reader.string("body")?;
    if found.value.is_empty() || found.value.len() > BODY_BYTES_MAX {
        let allowed = format!("a text of 1 to {BODY_BYTES_MAX} bytes");
        return reader.wrong("body", found.span, &allowed);
    }
    Some(Some(found.value))
}

fn resolvers(reader: &mut Reader<'_, '_, '_>) -> Option<Vec<IpAddr>> {
    const ALLOWED: &str = "the address of a resolver, or a list of 1 to 4 of them";
    if !reader.has("resolver") {
        reader.value("resolver");
        return Some(Vec::new());
    }
    let found = reader.addresses("resolver", true, (address_fault, ALLOWED))?;
    if found.value.is_empty() || found.value.len() > RESOLVERS_MAX {
        return reader.wrong("resolver", found.span, ALLOWED);
    }
    Some(found.value.into_iter().map(|at| at.value).collect())
}

/// The keys that only HTTPS has: whose certificates are right, and whether they must be.
fn trust(reader: &mut Reader<'_, '_, '_>) -> Option<(Option<PathBuf>, bool)> {
    let verify = reader.boolean("verify");
    let wrong = reader.has("verify") && verify.is_none();
    let verify = verify.is_none_or(|at| at.value);
    let given = reader.has("ca_file");
    let file = reader.string("ca_file");
    if !given {
        return (!wrong).then_some((None, verify));
    }
    let file = file?;
    if !file.value.starts_with('/') || file.value.contains('\0') {
        return reader.wrong("ca_file", file.span, "an absolute path");
    }
    if !verify {
        let message = format!(
            "`{}` means nothing with `verify = false`",
            reader.key("ca_file")
        );
        reader.error(file.span, message);
        return None;
    }
    (!wrong).then(|| (Some(PathBuf::from(file.value)), verify))
}

fn dns(reader: &mut Reader<'_, '_, '_>) -> Option<DnsCheck> {
    const RESOLVER: &str = "the address of the resolver that is asked";
    const NAME: &str = "the name that is asked for, such as \"example.com\", or \".\" for the root";
    needed(reader, "resolver", RESOLVER);
    let resolver = address(reader, "resolver");
    needed(reader, "query", NAME);
    let name = reader.string("query").and_then(|found| {
        if is_host_name(&found.value) || found.value == ROOT {
            Some(found.value)
        } else {
            reader.wrong("query", found.span, NAME)
        }
    });
    let record = reader.choice("type", &keys::RECORD_KINDS);
    let wrong = reader.has("type") && record.is_none();
    let record = record.map_or(RecordKind::A, |at| at.value);
    let expect = expect(reader, record);
    if wrong {
        return None;
    }
    Some(DnsCheck {
        resolver: resolver??,
        name: name?,
        record,
        expect: expect?,
    })
}

fn expect(reader: &mut Reader<'_, '_, '_>, record: RecordKind) -> Option<Vec<IpAddr>> {
    const ALLOWED: &str = "an address, or a list of 1 to 64 of them, of which one must be answered";
    if !reader.has("expect") {
        reader.value("expect");
        return Some(Vec::new());
    }
    let found = reader.addresses("expect", true, (|_| None, ALLOWED))?;
    if found.value.is_empty() || found.value.len() > EXPECT_MAX {
        return reader.wrong("expect", found.span, ALLOWED);
    }
    let ipv6 = match record {
        RecordKind::A => false,
        RecordKind::Aaaa => true,
        RecordKind::Mx | RecordKind::Ns | RecordKind::Soa | RecordKind::Txt => {
            let message = format!(
                "`{}` is for records of type \"A\" and \"AAAA\"",
                reader.key("expect")
            );
            reader.error(found.span, message);
            return None;
        }
    };
    let strangers: Vec<Range<usize>> = found
        .value
        .iter()
        .filter(|at| at.value.is_ipv6() != ipv6)
        .map(|at| at.span.clone())
        .collect();
    for span in &strangers {
        let word = keys::word(&keys::RECORD_KINDS, &record);
        let message = format!(
            "`{}` is no address that a record of type {word:?} holds",
            reader.key("expect")
        );
        reader.error(span.clone(), message);
    }
    strangers
        .is_empty()
        .then(|| found.value.into_iter().map(|at| at.value).collect())
}

fn exec(reader: &mut Reader<'_, '_, '_>) -> Option<ExecCheck> {
    command::read(reader).map(|command| ExecCheck { command })
}

fn mtu(reader: &mut Reader<'_, '_, '_>) -> Option<MtuCheck> {
    needed(reader, "target", "an address that answers echo requests");
    let target = address(reader, "target");
    let size = small(reader, "size", SIZE_BYTES[0], SIZE_BYTES[1]);
    let wrong = reader.has("size") && size.is_none();
    let span = reader.value("size").map(Spanned::span);
    let target = target??;
    let size_bytes = size.map(|at| at.value);
    if let (IpAddr::V6(_), Some(size), Some(span)) = (target, size_bytes, span)
        && size < SIZE_BYTES_MIN_V6
    {
        let allowed = format!("at least {SIZE_BYTES_MIN_V6} for IPv6");
        return reader.wrong("size", span, &allowed);
    }
    (!wrong).then_some(MtuCheck { target, size_bytes })
}
