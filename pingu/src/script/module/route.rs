//! What `pingu.route` takes.

use std::net::IpAddr;

use ipnet::IpNet;
use mlua::{FromLua, Lua, Value};

use crate::{
    engine::ExtraRoute,
    network::default_of,
    units::{Metric, TableId},
};

/// What a script wishes of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteOrder {
    /// That it be there.
    Add(ExtraRoute),
    /// That those to a destination be not, which have what is given.
    Delete {
        /// Where they lead to.
        destination: IpNet,
        /// Their next hop.
        gateway: Option<IpAddr>,
        /// Their interface.
        interface: Option<String>,
        /// Their metric.
        metric: Option<Metric>,
        /// Their table.
        table: TableId,
    },
}

impl RouteOrder {
    /// Whether a deletion means this route.
    pub fn deletes(&self, route: &ExtraRoute) -> bool {
        match self {
            Self::Add(_) => false,
            Self::Delete {
                destination,
                gateway,
                interface,
                metric,
                table,
            } => {
                (route.destination, route.table) == (*destination, *table)
                    && gateway.is_none_or(|gateway| route.gateway == Some(gateway))
                    && metric.is_none_or(|metric| route.metric == metric)
                    && (interface.is_none() || route.interface == *interface)
            }
        }
    }
}

/// Reads the table that a script gives.
pub(super) fn route_order(lua: &Lua, value: Option<Value>) -> mlua::Result<RouteOrder> {
    const KEYS: [&str; 6] = ["to", "via", "dev", "metric", "table", "delete"];
    let wrong = |why: String| mlua::Error::runtime(format!("pingu.route: {why}"));
    let Some(Value::Table(given)) = value else {
        return Err(wrong(
            "takes a table, such as { to = \"192.0.2.0/24\", dev = \"wan0\" }".to_owned(),
        ));
    };
    for pair in given.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let name = key.to_string()?;
        if !key.is_string() || !KEYS.contains(&name.as_str()) {
            return Err(wrong(format!(
                "`{name}` is unknown; allowed: {}",
                KEYS.join(", ")
            )));
        }
    }
    let text = |key: &str| -> mlua::Result<Option<String>> {
        let value: Value = given.raw_get(key)?;
        match value {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.to_string_lossy())),
            other => Err(wrong(format!(
                "`{key}` must be a string, not a {}",
                other.type_name()
            ))),
        }
    };
    let number = |key: &str, least: u32| -> mlua::Result<Option<u32>> {
        let value: Value = given.raw_get(key)?;
        if value.is_nil() {
            return Ok(None);
        }
        let number = f64::from_lua(value, lua)
            .ok()
            .filter(|number| number.fract() == 0.0);
        let number =
            number.filter(|number| (f64::from(least)..=f64::from(u32::MAX)).contains(number));
        let number = number
            .ok_or_else(|| wrong(format!("`{key}` must be a whole number from {least} up")))?;
        Ok(Some(number as u32))
    };
    let gateway = text("via")?
        .map(|via| {
            via.parse::<IpAddr>()
                .map_err(|_| wrong(format!("`via` {via:?} is no address")))
        })
        .transpose()?;
    let interface = text("dev")?;
    let to =
        text("to")?.ok_or_else(|| wrong("`to` is needed: a prefix, or \"default\"".to_owned()))?;
    let destination = match to.as_str() {
        "default" => default_of(gateway.is_some_and(|gateway| gateway.is_ipv6())),
        _ => to
            .parse::<IpNet>()
            .or_else(|_| to.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| wrong(format!("`to` {to:?} is no prefix")))?
            .trunc(),
    };
    if gateway.is_some_and(|gateway| gateway.is_ipv6() != destination.addr().is_ipv6()) {
        return Err(wrong("`via` is of another family than `to`".to_owned()));
    }
    let (metric, table) = (number("metric", 0)?.map(Metric), number("table", 1)?);
    let table = table.map_or(TableId::MAIN, TableId);
    if table.0 == 255 {
        return Err(wrong("table 255 is the kernel's own".to_owned()));
    }
    let delete: Value = given.raw_get("delete")?;
    if !delete.is_nil() && delete.as_boolean() != Some(false) {
        return Ok(RouteOrder::Delete {
            destination,
            gateway,
            interface,
            metric,
            table,
        });
    }
    if gateway.is_none() && interface.is_none() {
        return Err(wrong("`via` or `dev` is needed".to_owned()));
    }
    Ok(RouteOrder::Add(ExtraRoute {
        destination,
        gateway,
        interface,
        metric: metric.unwrap_or(Metric(1024)),
        table,
    }))
}
