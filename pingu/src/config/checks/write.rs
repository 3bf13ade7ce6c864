//! Checks as text that reads back to the same.

use std::{fmt::Display, net::IpAddr};

use super::{CheckConfig, CheckKind, DnsCheck, HttpCheck, StatusRange};
use crate::config::{
    keys,
    write::{line, line_of, list, text, time},
};

/// Writes one check.
pub(in crate::config) fn check(out: &mut String, check: &CheckConfig) {
    out.push_str("\n[[uplink.check]]\n");
    line(out, "kind", &text(check.kind.word()));
    line(out, "name", &text(&check.name));
    match &check.kind {
        CheckKind::Tcp(address) => line(out, "address", &quoted(address)),
        CheckKind::Http(check) => http(out, check),
        CheckKind::Dns(check) => dns(out, check),
        CheckKind::Exec(check) => line(out, "command", &list(check.command.iter())),
        CheckKind::Mtu(check) => {
            line(out, "target", &quoted(check.target));
            line_of(out, "size", check.size_bytes.map(|size| size.to_string()));
        }
    }
    line_of(out, "every", time(check.every));
    line_of(out, "timeout", time(check.timeout));
    line(out, "fall", &check.fall.to_string());
    line(out, "rise", &check.rise.to_string());
    line(out, "required", &check.required.to_string());
    let word = keys::word(&keys::WHEN_ALL_FAIL, &check.when_all_fail);
    line(out, "when_all_fail", &text(word));
}

fn http(out: &mut String, check: &HttpCheck) {
    line(out, "url", &quoted(&check.url));
    let statuses: Vec<String> = check.status.iter().map(status).collect();
    line(out, "status", &format!("[{}]", statuses.join(", ")));
    line_of(out, "body", check.body.as_deref().map(text));
    line_of(out, "address", check.address.map(quoted::<IpAddr>));
    if !check.resolvers.is_empty() {
        line(out, "resolver", &list(check.resolvers.iter()));
    }
    if !check.url.tls {
        return;
    }
    let file = check.ca_file.as_ref();
    line_of(
        out,
        "ca_file",
        file.map(|file| text(&file.to_string_lossy())),
    );
    line(out, "verify", &check.verify.to_string());
}

fn status(range: &StatusRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        text(&format!("{}xx", range.first / 100))
    }
}

fn dns(out: &mut String, check: &DnsCheck) {
    line(out, "resolver", &quoted(check.resolver));
    line(out, "query", &text(&check.name));
    let word = keys::word(&keys::RECORD_KINDS, &check.record);
    line(out, "type", &text(word));
    if !check.expect.is_empty() {
        line(out, "expect", &list(check.expect.iter()));
    }
}

fn quoted<T: Display>(value: T) -> String {
    text(&value.to_string())
}
