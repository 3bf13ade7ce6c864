//! Which device an interface of OpenWrt's is: /etc/config/network says.

use std::collections::BTreeMap;

use crate::import::{
    findings::Findings,
    uci::{self, Section},
};

/// An alias of an alias; more are a circle.
const ALIASES_MAX: usize = 4;

/// What the network configuration says of an interface.
struct Interface {
    proto: String,
    device: Option<String>,
    is_bridge: bool,
}

/// The interfaces of the network configuration.
pub(super) struct Devices {
    interfaces: BTreeMap<String, Interface>,
    is_known: bool,
}

impl Devices {
    /// From the file itself, or from the same text (`uci export` writes all in one).
    pub(super) fn read(sections: &[Section], network: Option<&str>) -> Self {
        // What is wrong there is not about the file that is imported.
        let mut ignored = Findings::default();
        let parsed = network.map(|text| uci::parse(text, &mut ignored));
        let beside = parsed.iter().flatten();
        let inside = sections
            .iter()
            .filter(|section| section.package.as_deref() == Some("network"));
        let mut interfaces = BTreeMap::new();
        for section in beside.chain(inside) {
            if let (Some(name), "interface") = (&section.name, section.kind.as_str()) {
                let first = |key| {
                    let (value, _) = section.option(key)?;
                    value.split_whitespace().next().map(str::to_owned)
                };
                let interface = Interface {
                    proto: first("proto").unwrap_or_default(),
                    device: first("device").or_else(|| first("ifname")),
                    is_bridge: first("type").as_deref() == Some("bridge"),
                };
                interfaces.insert(name.clone(), interface);
            }
        }
        Self {
            is_known: !interfaces.is_empty(),
            interfaces,
        }
    }

    /// Whether there is a network configuration at all.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// The device of an interface.
    pub(super) fn of(&self, name: &str) -> Option<String> {
        self.resolve(name, 0)
    }

    fn resolve(&self, name: &str, aliases: usize) -> Option<String> {
        let interface = self.interfaces.get(name)?;
        let proto = interface.proto.as_str();
        match proto {
            "pppoe" | "pppoa" | "ppp" | "3g" | "pptp" | "l2tp" | "6in4" | "6rd" | "6to4" => {
                return Some(format!("{proto}-{name}"));
            }
            "wireguard" => return Some(name.to_owned()),
            _ if interface.is_bridge => return Some(format!("br-{name}")),
            _ => {}
        }
        let device = interface.device.as_deref()?;
        match device.strip_prefix('@') {
            Some(other) if aliases < ALIASES_MAX => self.resolve(other, aliases + 1),
            // A modem's control device is not its network device.
            None if !device.starts_with('/') => Some(device.to_owned()),
            Some(_) | None => None,
        }
    }
}
