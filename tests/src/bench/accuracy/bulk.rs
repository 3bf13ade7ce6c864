//! A connection over the uplink that takes all that it gets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::lab::{
    site::{Site, TARGET},
    worker::Worker,
};

const PORT: u16 = 9;

/// The threads look so often whether they should end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running flow; dropped, it ends.
pub(super) struct Bulk {
    _from: Worker<()>,
    _to: Worker<()>,
}

impl Bulk {
    /// From the router to the Internet.
    pub(super) fn start(site: &Site) -> Result<Self> {
        let address = SocketAddr::from((TARGET, PORT));
        let listener = site.internet.enter(|| TcpListener::bind(address))?;
        let from = site
            .router
            .enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        let mut from = from.context("the bulk flow cannot connect")?;
        let (mut to, _) = listener.accept()?;
        from.set_write_timeout(Some(LOOK_EVERY))?;
        to.set_read_timeout(Some(LOOK_EVERY))?;
        let from = Worker::start("bulk-from", move |stop| {
            let block = vec![0; 64 << 10];
            while !stop.is_wanted() {
                // It waits where the path takes no more.
                let _ = from.write(&block);
            }
        });
        let to = Worker::start("bulk-to", move |stop| {
            let mut block = vec![0; 64 << 10];
            while !stop.is_wanted() {
                let _ = to.read(&mut block);
            }
        });
        Ok(Self {
            _from: from,
            _to: to,
        })
    }
}
