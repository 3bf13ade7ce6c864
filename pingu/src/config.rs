//! The configuration: a file as written becomes a [`Config`] that holds only valid values, or a list of everything that is wrong with it.

mod check;
mod compare;
mod duration;
mod health;
mod keys;
mod policy;
mod problem;
mod reader;
mod uplink;
mod write;

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use health::{HealthConfig, Limits, Quorum, Rule};
pub use problem::{LoadError, Problem, Problems, Severity};

use crate::units::{Metric, Protocol};

/// A thousand uplinks written out in full take a fifth of this.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A whole, checked configuration. Uplinks stand in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `rtm_protocol` of every route that pingu writes; only routes with it are pingu's own. 1..=255 without the kernel's
    /// reserved 0..=4.
    pub protocol: Protocol,
    /// Where replies are matched.
    pub receive_hook: ReceiveHook,
    /// What becomes of default routes that others installed over an uplink.
    pub learned_routes: LearnedRoutes,
    /// What becomes of pingu's own routes at SIGINT and SIGTERM.
    pub on_exit: OnExit,
    /// The control socket.
    pub socket: PathBuf,
    /// Where adopted routes are remembered across a crash.
    pub state_directory: PathBuf,
    /// The uplinks, the most wanted first. At least one, at most [`UPLINKS_MAX`].
    pub uplinks: Vec<UplinkConfig>,
}

impl Config {
    /// Reads a configuration from text. `file` is what messages call it. The second value of success holds the warnings.
    ///
    /// # Errors
    /// Everything that is wrong, and the warnings beside it.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Vec<Problem>), Problems> {
        check::parse(text, file)
    }

    /// Reads a configuration file. The second value of success holds the warnings.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 4 MiB, is not UTF-8, or says something wrong.
    pub fn load(path: &Path) -> Result<(Self, Vec<Problem>), LoadError> {
        let read_error = |source| LoadError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(read_error)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(read_error)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(LoadError::TooLarge {
                path: path.to_owned(),
                max_bytes: FILE_BYTES_MAX,
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
            read_error(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("line {line} is not UTF-8"),
            ))
        })?;
        Ok(Self::parse(&text, &path.display().to_string())?)
    }

    /// The whole configuration with every default filled in, as TOML that reads back to the same.
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }
}

/// More uplinks than this are refused: slots, hooks and sockets are sized from the count.
pub const UPLINKS_MAX: usize = 1024;

/// Which hook matches replies (`receive_hook`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveHook {
    /// TCX, or clsact where the kernel has no TCX.
    Auto,
    /// TCX ingress (Linux 6.6 and newer).
    Tcx,
    /// A clsact ingress filter.
    Clsact,
    /// Native XDP.
    Xdp,
}

/// What becomes of learned defaults (`learned_routes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnedRoutes {
    /// They stay; pingu's own routes lie beside them at their own metrics.
    Overlay,
    /// They are taken out of the main table once pingu's own route stands, and put back on exit.
    Adopt,
}

/// What becomes of own routes at the end (`on_exit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// They are removed, after adopted routes have been put back.
    Withdraw,
    /// They stay.
    Keep,
}

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// Unique; what status and logs call it.
    pub name: String,
    /// The kernel's name of its interface (at most 15 bytes); it need not exist yet.
    pub interface: String,
    /// Where its next hop comes from.
    pub gateway: Gateway,
    /// Metric of its own route, unique among uplinks.
    pub metric: Metric,
    /// How it is probed.
    pub probe: ProbeConfig,
    /// When it counts as up or down.
    pub health: HealthConfig,
}

/// Where an uplink's next hop comes from (`gateway`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Learned from default routes of other protocols in the main table.
    Auto,
    /// Given; at most one of each family, at least one in all.
    Static {
        /// The IPv4 next hop.
        v4: Option<std::net::Ipv4Addr>,
        /// The IPv6 next hop.
        v6: Option<std::net::Ipv6Addr>,
    },
    /// None: the device itself is the next hop (PPP, tun, WireGuard).
    Device,
}

/// How an uplink is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Addresses that answer echo requests; at least one, no duplicates.
    pub targets: Vec<IpAddr>,
    /// From the start of one burst to the start of the next.
    pub period: Duration,
    /// Echo requests in a burst; at least 1.
    pub count: u16,
    /// Between two requests of a burst.
    pub spacing: Duration,
    /// A request unanswered for so long is lost.
    pub timeout: Duration,
    /// ICMP payload in bytes; at least what the matching needs.
    pub size_bytes: u16,
}
