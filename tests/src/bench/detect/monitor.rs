//! The kernel's account of the default routes, with times by both clocks. It is read by a thread that waits for no other.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::{namespace::Namespace, raw_socket::RawSocket, worker::Worker};

/// How long the monitor waits before it looks whether it should stop.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(100);

/// Far more than one cut makes.
const EVENTS_MAX: usize = 4_096;

const HEADER_BYTES: usize = 16;
const ROUTE_HEADER_BYTES: usize = 12;

/// A default route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Default {
    pub(super) metric: u32,
    pub(super) by: u32,
}

/// What happened to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Added { replaces: bool },
    Deleted,
}

/// What happened, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) of_day: SystemTime,
    pub(super) deed: Deed,
    pub(super) route: Default,
}

/// A running monitor, and the default routes as they are by its account.
pub(super) struct Monitor {
    events: Receiver<Event>,
    table: Vec<Default>,
    _worker: Worker<Result<()>>,
}

impl Monitor {
    /// Returns once it listens.
    pub(super) fn start(namespace: &Namespace) -> Result<Self> {
        let (ready, listening) = sync_channel(1);
        let (sender, events) = sync_channel(EVENTS_MAX);
        let worker = namespace.worker("default-monitor", move |stop| {
            run_first()?;
            let socket = RawSocket::rtnetlink(RECEIVE_TIMEOUT)?;
            socket.join(&[libc::RTNLGRP_IPV4_ROUTE])?;
            // Nobody waits any more where the start failed.
            let _ = ready.send(());
            let mut buffer = vec![0; 32 << 10];
            while !stop.is_wanted() {
                let Some(datagram) = socket.receive(&mut buffer)? else {
                    continue;
                };
                let (at, of_day) = (Instant::now(), SystemTime::now());
                if let Some((deed, route)) = read(datagram) {
                    let event = Event {
                        at,
                        of_day,
                        deed,
                        route,
                    };
                    // Whoever does not listen does not need it.
                    let _ = sender.try_send(event);
                }
            }
            Ok(())
        });
        listening.recv().context("the monitor could not start")?;
        let table = defaults(namespace)?;
        Ok(Self {
            events,
            table,
            _worker: worker,
        })
    }

    /// Takes in what happened until traffic leaves by this interface; the event that made it so, none where it did so already.
    pub(super) fn wait_until_by(&mut self, by: u32, deadline: Duration) -> Result<Option<Event>> {
        let end = Instant::now() + deadline;
        while let Ok(event) = self.events.try_recv() {
            apply(&mut self.table, &event);
            if best(&self.table) == Some(by) {
                return Ok(Some(event));
            }
        }
        if best(&self.table) == Some(by) {
            return Ok(None);
        }
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    apply(&mut self.table, &event);
                    if best(&self.table) == Some(by) {
                        return Ok(Some(event));
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "no default by {by} within {deadline:?}; there are {:?}",
                    self.table
                ),
                Err(RecvTimeoutError::Disconnected) => bail!("the monitor ended"),
            }
        }
    }
}

fn best(table: &[Default]) -> Option<u32> {
    Some(table.iter().min_by_key(|route| route.metric)?.by)
}

fn apply(table: &mut Vec<Default>, event: &Event) {
    match event.deed {
        Deed::Added { replaces } => {
            let same = |other: &&mut Default| other.metric == event.route.metric;
            match table.iter_mut().find(same).filter(|_| replaces) {
                Some(other) => *other = event.route,
                None => table.push(event.route),
            }
        }
        Deed::Deleted => {
            let place = table.iter().position(|other| *other == event.route);
            place.map(|place| table.remove(place));
        }
    }
}

fn read(datagram: &[u8]) -> Option<(Deed, Default)> {
    let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
    let flags = u16::from_ne_bytes(datagram.get(6..8)?.try_into().ok()?);
    let deed = match kind {
        libc::RTM_NEWROUTE => Deed::Added {
            replaces: flags & libc::NLM_F_REPLACE as u16 != 0,
        },
        libc::RTM_DELROUTE => Deed::Deleted,
        _ => return None,
    };
    let body = datagram.get(HEADER_BYTES..)?;
    // The length of the prefix, and the table.
    if *body.get(1)? != 0 || *body.get(4)? != libc::RT_TABLE_MAIN {
        return None;
    }
    let (mut metric, mut by) = (0, None);
    let mut rest = body.get(ROUTE_HEADER_BYTES..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let value = rest.get(4..length)?;
        let number = || Some(u32::from_ne_bytes(value.try_into().ok()?));
        match u16::from_ne_bytes([rest[2], rest[3]]) {
            libc::RTA_PRIORITY => metric = number()?,
            libc::RTA_OIF => by = number(),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((deed, Default { metric, by: by? }))
}

fn defaults(namespace: &Namespace) -> Result<Vec<Default>> {
    let text = namespace.ip("-4 -j route show default");
    let routes: Vec<Value> = serde_json::from_str(&text)?;
    let of = |route: &Value| {
        let interface = route["dev"].as_str().context("a default without device")?;
        Ok(Default {
            metric: route["metric"].as_u64().unwrap_or(0) as u32,
            by: namespace.ifindex(interface),
        })
    };
    routes.iter().map(of).collect()
}

/// What stamps must not wait for what is measured.
fn run_first() -> Result<()> {
    // SAFETY: a plain system call that reads the structure.
    let set = unsafe {
        let parameters = libc::sched_param { sched_priority: 1 };
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters)
    };
    match set {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("SCHED_FIFO, which needs root"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(deed: Deed, metric: u32, by: u32) -> Event {
        Event {
            at: Instant::now(),
            of_day: SystemTime::now(),
            deed,
            route: Default { metric, by },
        }
    }

    #[test]
    fn traffic_leaves_by_the_lowest_metric_that_stands() {
        let mut table = Vec::new();
        for (deed, metric, by, expected) in [
            (Deed::Added { replaces: false }, 10, 3, Some(3)),
            (Deed::Added { replaces: false }, 11, 4, Some(3)),
            (Deed::Deleted, 10, 3, Some(4)),
            (Deed::Added { replaces: true }, 11, 3, Some(3)),
            (Deed::Deleted, 11, 4, Some(3)),
            (Deed::Deleted, 11, 3, None),
        ] {
            apply(&mut table, &event(deed, metric, by));
            assert_eq!(best(&table), expected);
        }
    }

    #[test]
    fn a_default_is_read_from_the_bytes_of_its_message() {
        let mut message = vec![0; HEADER_BYTES + ROUTE_HEADER_BYTES];
        message[4..6].copy_from_slice(&libc::RTM_DELROUTE.to_ne_bytes());
        message[HEADER_BYTES + 4] = libc::RT_TABLE_MAIN;
        for (kind, value) in [(libc::RTA_PRIORITY, 10_u32), (libc::RTA_OIF, 7)] {
            message.extend(8_u16.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(value.to_ne_bytes());
        }
        let route = Default { metric: 10, by: 7 };
        assert_eq!(read(&message), Some((Deed::Deleted, route)));
        message[HEADER_BYTES + 1] = 24;
        assert_eq!(read(&message), None, "not a default");
    }
}
