//! Routing rules: which table a packet is looked up in.

use std::fmt;

use ipnet::IpNet;

use crate::units::{Protocol, TableId};

/// A routing rule (`RTM_NEWRULE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Its priority (`FRA_PRIORITY`): the lowest is asked first.
    pub priority: u32,
    /// Which packets it is for.
    pub selector: Selector,
    /// The table it leads to; 0 where it leads to none.
    pub table: TableId,
    /// Its origin (`FRA_PROTOCOL`).
    pub protocol: Protocol,
}

/// Which packets a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those from a source.
    From(IpNet),
    /// Those with a firewall mark: value and mask.
    Mark {
        /// `FRA_FWMARK`.
        value: u32,
        /// `FRA_FWMASK`.
        mask: u32,
    },
    /// Those of sockets that are bound to an interface (`FRA_OIFNAME`), and where given to a source as well.
    Bound {
        /// The interface's name.
        interface: String,
        /// `FRA_SRC`.
        from: Option<IpNet>,
    },
    /// Anything else, or more than one of these: never pingu's; named for people.
    Other(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            priority, table, ..
        } = self;
        let family = if self.ipv6 { " (IPv6)" } else { "" };
        write!(f, "{priority}: ")?;
        match &self.selector {
            Selector::From(source) => write!(f, "from {source}")?,
            Selector::Mark { value, mask } => write!(f, "fwmark {value:#x}/{mask:#x}")?,
            Selector::Bound { interface, from } => {
                if let Some(from) = from {
                    write!(f, "from {from} ")?;
                }
                write!(f, "oif {interface}")?;
            }
            Selector::Other(what) => f.write_str(what)?,
        }
        write!(f, " lookup {table}{family}")
    }
}
