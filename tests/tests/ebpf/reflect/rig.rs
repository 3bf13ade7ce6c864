//! The loaded reflector, and the requests that it is to answer.

use aya::programs::TestRunResult;
use pingu::{probe::kernel::reflector::Reflector, units::Ifindex};
use pingu_common::{
    VlanIds,
    reflector::{PROGRAM_REFLECT_BARE, PROGRAM_REFLECT_ETHERNET, PROGRAM_REFLECT_XDP},
};

use crate::{
    harness::{self, IFINDEX},
    packets::{Echo, HERE_V4, HERE_V6},
};

/// The Ethernet address to which the packets of these tests go.
pub(super) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const PATH: u32 = 0x0a0b_0c0d;
pub(super) const CLOCK_BEGIN_NS: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Xdp,
    Ethernet,
    Bare,
}

pub(super) const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Ethernet, Hook::Bare];

impl Hook {
    fn program(self) -> &'static str {
        match self {
            Self::Xdp => PROGRAM_REFLECT_XDP,
            Self::Ethernet => PROGRAM_REFLECT_ETHERNET,
            Self::Bare => PROGRAM_REFLECT_BARE,
        }
    }

    /// `XDP_TX` or `TCX_REDIRECT`.
    pub(super) fn sent_back(self) -> u32 {
        match self {
            Self::Xdp => 3,
            Self::Ethernet | Self::Bare => 7,
        }
    }

    /// `XDP_PASS` or `TCX_NEXT`.
    pub(super) fn passed(self) -> u32 {
        match self {
            Self::Xdp => 2,
            Self::Ethernet | Self::Bare => u32::MAX,
        }
    }
}

pub(super) struct Rig(pub(super) Reflector);

impl Rig {
    pub(super) fn new(from: &[&str]) -> Self {
        Self::limited(from, 0)
    }

    pub(super) fn limited(from: &[&str], limit_per_second: u32) -> Self {
        // SAFETY: a plain system call on this thread.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
        let from: Vec<ipnet::IpNet> = from.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let mut reflector = Reflector::load(&from, limit_per_second, CLOCK_BEGIN_NS).unwrap();
        for address in [HERE_V4, HERE_V6] {
            for vlan in [VlanIds::default(), VlanIds { outer: 7, inner: 9 }] {
                reflector
                    .serve(Ifindex(IFINDEX), vlan, address, OWN)
                    .unwrap();
            }
        }
        Self(reflector)
    }

    pub(super) fn run(&self, hook: Hook, packet: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; packet.len() + 64];
        let program = self.0.program(hook.program()).unwrap();
        let result: TestRunResult = harness::run(program, packet, &mut out, 0, 1);
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    pub(super) fn passes_untouched(&self, hook: Hook, packet: &[u8], what: &str) {
        let before = self.0.paths();
        let (verdict, out) = self.run(hook, packet);
        assert_eq!(verdict, hook.passed(), "{what}, {hook:?}");
        assert_eq!(out, packet, "{what}, {hook:?}");
        assert_eq!(self.0.paths(), before, "{what}, {hook:?}: it was counted");
    }
}

/// A probe that asks for a reflection.
pub(super) fn request(hook: Hook, is_ipv4: bool) -> Echo {
    let receiver = match hook {
        Hook::Xdp => harness::Receiver::Xdp,
        Hook::Ethernet => harness::Receiver::Ethernet,
        Hook::Bare => harness::Receiver::Bare,
    };
    let [v4, v6] = Echo::replies(receiver);
    let reply = if is_ipv4 { v4 } else { v6 };
    Echo {
        source: reply.source,
        destination: reply.destination,
        kind: if is_ipv4 { 8 } else { 128 },
        tail: asked(),
        link_destination: OWN,
        ..reply
    }
}

/// What stands behind the cookie. The numbers that a prober leaves at zero are not here: they are overwritten all the same.
fn asked() -> Vec<u8> {
    let mut asked = b"PGrq".to_vec();
    asked.extend([0x11; 20]);
    asked.extend(PATH.to_be_bytes());
    asked
}
