//! The addresses and interfaces that a script names.

use std::net::IpAddr;

use thiserror::Error;

use crate::script::probe::{Origin, PathKey};

/// An interface's name has at most so many bytes: IFNAMSIZ less the final zero.
const INTERFACE_NAME_MAX: usize = 15;

/// What is wrong with an address.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum AddressError {
    #[error(
        "`{0}` is not an IP address; dns.lookup of require(\"dns\") finds the addresses of a name"
    )]
    NoAddress(String),
    #[error("`{0}`: name the interface apart, as in probe.new(\"{1}\", \"{2}\")")]
    Scoped(String, String, String),
    #[error("`{0}` cannot be probed: it is not the address of one host")]
    NoHost(IpAddr),
    #[error("`{0}` is neither an IP address nor the name of an interface")]
    NoSource(String),
    #[error(
        "`{source_address}` cannot be the source of probes to `{destination}`: one is IPv4, the other IPv6"
    )]
    Families {
        destination: IpAddr,
        source_address: IpAddr,
    },
}

/// What `probe.new` is called with.
pub(super) fn path(destination: &str, source: Option<&str>) -> Result<PathKey, AddressError> {
    let destination = host(destination)?;
    let origin = match source {
        Some(text) => origin(destination, text)?,
        None => Origin::Any,
    };
    Ok(PathKey {
        destination,
        origin,
    })
}

/// A destination.
pub(super) fn host(text: &str) -> Result<IpAddr, AddressError> {
    let address: IpAddr = text
        .trim()
        .parse()
        .map_err(|_| match text.split_once('%') {
            Some((address, zone)) if address.parse::<IpAddr>().is_ok() => {
                AddressError::Scoped(text.to_owned(), address.to_owned(), zone.to_owned())
            }
            Some(_) | None => AddressError::NoAddress(text.to_owned()),
        })?;
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || is_broadcast {
        return Err(AddressError::NoHost(address));
    }
    Ok(address)
}

fn origin(destination: IpAddr, text: &str) -> Result<Origin, AddressError> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Ok(Origin::Any),
        Ok(address) if address.is_ipv4() != destination.is_ipv4() => Err(AddressError::Families {
            destination,
            source_address: address,
        }),
        Ok(address) => Ok(Origin::Source(address)),
        Err(_) if text.is_empty() => Ok(Origin::Any),
        Err(_) if is_interface_name(text) => Ok(Origin::Interface(text.to_owned())),
        Err(_) => Err(AddressError::NoSource(text.to_owned())),
    }
}

/// As `dev_valid_name` of the kernel has it, but for what is rather a mistaken address.
fn is_interface_name(text: &str) -> bool {
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let is_odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    text.len() <= INTERFACE_NAME_MAX && !text.contains(is_odd)
}
