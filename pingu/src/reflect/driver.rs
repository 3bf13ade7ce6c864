//! What an interface's driver can do, asked of the kernel: its XDP features by the netdev family of generic netlink (Linux 6.3), its name
//! by ethtool.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

use crate::units::Ifindex;

/// `NETDEV_XDP_ACT_BASIC`: programs may pass, drop and send back.
pub(super) const XDP_BASIC: u64 = 1;

/// `NETDEV_XDP_ACT_NDO_XMIT`: the device sends what XDP hands it. A veth says so while its other end takes such frames.
pub(super) const XDP_TRANSMITS: u64 = 4;

/// What is known of a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Driver {
    /// Its name; none where it does not say.
    pub(super) name: Option<String>,
    /// `enum netdev_xdp_act`; none where the kernel does not say.
    pub(super) features: Option<u64>,
}

impl Driver {
    pub(super) fn is_veth(&self) -> bool {
        self.name.as_deref() == Some("veth")
    }
}

/// Asks for what is known; whatever the kernel does not say is none.
pub(super) fn ask(ifindex: Ifindex, interface: &str) -> Driver {
    Driver {
        name: name(interface).ok(),
        features: features(ifindex).ok().flatten(),
    }
}

const ETHTOOL_GDRVINFO: u32 = 3;
const SIOCETHTOOL: u64 = 0x8946;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

fn name(interface: &str) -> io::Result<String> {
    // SAFETY: a plain system call.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just above and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: all of it is integers or pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: request and info live through the call; the kernel writes no more than `struct ethtool_drvinfo`, which `info` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let driver = info.driver.split(|&byte| byte == 0).next();
    Ok(String::from_utf8_lossy(driver.unwrap_or_default()).into_owned())
}

const NETLINK_HEADER_BYTES: usize = 16;
const GENERIC_HEADER_BYTES: usize = 4;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// The generic netlink controller, which knows the other families' numbers.
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GET_DEVICE: u8 = 1;
const DEVICE_IFINDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
const ANSWER_BYTES_MAX: usize = 32 * 1024;

fn features(ifindex: Ifindex) -> io::Result<Option<u64>> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = ask_for(&socket, CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0")?;
    let Some(family) = attribute(&family, FAMILY_ID).and_then(|bytes| bytes.try_into().ok()) else {
        return Ok(None);
    };
    let family = u16::from_ne_bytes(family);
    let device = ask_for(
        &socket,
        family,
        GET_DEVICE,
        DEVICE_IFINDEX,
        &ifindex.0.to_ne_bytes(),
    )?;
    let features = attribute(&device, DEVICE_XDP_FEATURES);
    Ok(features
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_ne_bytes))
}

/// Asks one question with one attribute, and returns the answer's attributes.
fn ask_for(
    socket: &Socket,
    family: u16,
    command: u8,
    key: u16,
    value: &[u8],
) -> io::Result<Vec<u8>> {
    let mut request = vec![0; NETLINK_HEADER_BYTES];
    request.extend([command, 1, 0, 0]);
    request.extend(((ATTRIBUTE_HEADER_BYTES + value.len()) as u16).to_ne_bytes());
    request.extend(key.to_ne_bytes());
    request.extend(value);
    request.resize(request.len().next_multiple_of(4), 0);
    let bytes = request.len() as u32;
    request[..4].copy_from_slice(&bytes.to_ne_bytes());
    request[4..6].copy_from_slice(&family.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    socket.send(&request, 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    socket.recv(&mut answer, 0)?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    if kind.map(u16::from_ne_bytes) != Some(family) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let attributes = answer.get(NETLINK_HEADER_BYTES + GENERIC_HEADER_BYTES..);
    Ok(attributes.unwrap_or_default().to_vec())
}

/// The value of an attribute.
fn attribute(attributes: &[u8], key: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let header: [u8; ATTRIBUTE_HEADER_BYTES] =
            rest.get(..ATTRIBUTE_HEADER_BYTES)?.try_into().ok()?;
        let [low, high, key_low, key_high] = header;
        let bytes = usize::from(u16::from_ne_bytes([low, high]));
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..bytes)?;
        if u16::from_ne_bytes([key_low, key_high]) == key {
            return Some(value);
        }
        rest = rest.get(bytes.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_their_number_and_nothing_is_read_beyond_them() {
        let mut bytes = vec![5, 0, 9, 0, 0xaa, 0, 0, 0];
        bytes.extend([6, 0, 1, 0, 0x17, 0x2a, 0, 0]);
        assert_eq!(attribute(&bytes, 9), Some(&[0xaa][..]));
        assert_eq!(attribute(&bytes, 1), Some(&[0x17, 0x2a][..]));
        assert_eq!(attribute(&bytes, 2), None);
        for end in 0..bytes.len() {
            let _ = attribute(&bytes[..end], 7);
        }
        assert_eq!(attribute(&[0, 0, 1, 0], 1), None, "a length of nothing");
    }
}
