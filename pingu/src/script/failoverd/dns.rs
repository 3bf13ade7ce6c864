//! The module `dns`: names and their addresses, as the system's resolver knows them.

use std::{
    net::{IpAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use mlua::{Error, Lua, Result, Table, Value};

use super::api;

/// The system's resolver cannot be interrupted: a look-up that nobody waits for any more goes on by itself. So many may do so at a time.
const ABANDONED_MAX: usize = 16;

/// Longer timeouts are none: a year.
const TIMEOUT_MS_MAX: f64 = 365.0 * 86_400_000.0;

#[derive(Clone, Default)]
struct Resolver {
    /// 0 for none.
    timeout_us: Arc<AtomicU64>,
    under_way: Arc<AtomicUsize>,
}

/// Which addresses a function gives.
type Wanted = fn(&IpAddr) -> bool;

/// Makes `require("dns")` find the module.
pub(super) fn define(lua: &Lua) -> Result<()> {
    let resolver = Resolver::default();
    let load = move |lua: &Lua, _: mlua::MultiValue| module(lua, &resolver);
    let package: Table = lua.globals().get("package")?;
    let preload: Table = package.get("preload")?;
    preload.set("dns", lua.create_function(load)?)
}

fn module(lua: &Lua, resolver: &Resolver) -> Result<Table> {
    let dns = lua.create_table()?;
    let lookups: [(&str, Wanted); 3] = [
        ("lookup", |_| true),
        ("lookup_v4", IpAddr::is_ipv4),
        ("lookup_v6", IpAddr::is_ipv6),
    ];
    for (name, is_wanted) in lookups {
        let resolver = resolver.clone();
        let lookup = move |lua: &Lua, host: Value| {
            let host = text(lua, name, &host)?;
            let found = resolver.lookup(&host, is_wanted);
            let error = |why| Error::runtime(format!("{name}: `{host}`: {why}"));
            found.map_err(error)
        };
        dns.set(name, api::function(lua, lookup)?)?;
    }
    let timeout_us = Arc::clone(&resolver.timeout_us);
    let set_timeout = move |lua: &Lua, given: Value| {
        let good = |number: &f64| (0.0..=TIMEOUT_MS_MAX).contains(number);
        let Some(milliseconds) = lua.coerce_number(given.clone())?.filter(good) else {
            let found = match &given {
                Value::Integer(_) | Value::Number(_) => given.to_string()?,
                other => api::with_article(other.type_name()),
            };
            return Err(Error::runtime(format!(
                "set_timeout: a timeout is a number of milliseconds, or 0 for none, not {found}"
            )));
        };
        // Rounded up: a short timeout is not none.
        timeout_us.store((milliseconds * 1000.0).ceil() as u64, Ordering::Relaxed);
        Ok(())
    };
    dns.set("set_timeout", api::function(lua, set_timeout)?)?;
    Ok(dns)
}

/// The name that a function of the module is given.
fn text(lua: &Lua, function: &str, value: &Value) -> Result<String> {
    if let Some(text) = lua.coerce_string(value.clone())? {
        return Ok(text.to_string_lossy());
    }
    // Called with a colon, it gets the module first.
    let hint = match value {
        Value::Table(_) => "; functions of `dns` are called with a dot",
        _ => "",
    };
    let found = api::with_article(value.type_name());
    Err(Error::runtime(format!(
        "{function}: a name must be a string, not {found}{hint}"
    )))
}

impl Resolver {
    fn lookup(
        &self,
        host: &str,
        is_wanted: fn(&IpAddr) -> bool,
    ) -> std::result::Result<Vec<String>, String> {
        let found = self.resolve(host)?;
        let mut wanted: Vec<String> = Vec::new();
        for address in found.iter().filter(|address| is_wanted(address)) {
            let text = address.to_string();
            if !wanted.contains(&text) {
                wanted.push(text);
            }
        }
        if wanted.is_empty() {
            return Err("it has no such addresses".to_owned());
        }
        Ok(wanted)
    }

    fn resolve(&self, host: &str) -> std::result::Result<Vec<IpAddr>, String> {
        let timeout = Duration::from_micros(self.timeout_us.load(Ordering::Relaxed));
        if timeout.is_zero() {
            return resolve(host);
        }
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= ABANDONED_MAX {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return Err("the resolver has not answered many earlier questions yet".to_owned());
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let (name, under_way) = (host.to_owned(), Arc::clone(&self.under_way));
        let ask = move || {
            // Nobody may be waiting any more.
            let _ = answer.send(resolve(&name));
            under_way.fetch_sub(1, Ordering::Relaxed);
        };
        let asking = thread::Builder::new().name("dns".to_owned()).spawn(ask);
        if let Err(error) = asking {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(error.to_string());
        }
        answered
            .recv_timeout(timeout)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => format!("no answer within {timeout:?}"),
                RecvTimeoutError::Disconnected => "the look-up ended early".to_owned(),
            })?
    }
}

fn resolve(host: &str) -> std::result::Result<Vec<IpAddr>, String> {
    let addresses = (host, 0).to_socket_addrs();
    let addresses = addresses.map_err(|error| error.to_string())?;
    Ok(addresses.map(|address| address.ip()).collect())
}
