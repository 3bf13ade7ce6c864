//! Has the kernel ask for neighbours. It takes the order only while nobody else changes its network configuration (RTNL), so a thread waits
//! for that; the answers are news.

use std::{io, net::IpAddr, thread};

use tokio::{
    runtime,
    sync::mpsc::{self, error::TrySendError},
};

use crate::{
    daemon::{Daemon, clock},
    netlink::{KernelRoutes, NetlinkError, RouteTable},
    units::{Ifindex, Protocol},
};

/// Orders that wait for the thread. The engine gives some a turn, and the same again after a while: what finds no room is left out.
const ORDERS_MAX: usize = 4_096;

/// The thread.
pub(super) struct Neighbours {
    orders: mpsc::Sender<Order>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// To be resolved or confirmed.
    Ask(Ifindex, IpAddr),
    /// To be asked anew, at the address that is known.
    Doubt(Ifindex, IpAddr),
}

impl Neighbours {
    /// Starts the thread, in the caller's network namespace.
    pub(super) fn start(protocol: Protocol) -> io::Result<Self> {
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("neighbours".to_owned())
            .spawn(move || runtime.block_on(work(protocol, queue)))?;
        Ok(Self { orders })
    }

    fn give(&self, order: Order) {
        match self.orders.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Full(order)) => tracing::debug!(?order, "too many neighbours to ask"),
            Err(TrySendError::Closed(order)) => {
                tracing::warn!(?order, "nobody asks for neighbours")
            }
        }
    }
}

impl Daemon {
    /// Has the kernel ask for those neighbours whose turn it is.
    pub(super) fn ask_neighbours(&mut self) {
        for (ifindex, address) in self.engine.solicitations(clock()) {
            self.neighbours.give(Order::Ask(ifindex, address));
        }
        for (ifindex, address) in self.engine.doubts(clock()) {
            self.neighbours.give(Order::Doubt(ifindex, address));
        }
    }
}

async fn work(protocol: Protocol, mut queue: mpsc::Receiver<Order>) {
    let mut routes = None;
    while let Some(order) = queue.recv().await {
        if let Err(error) = follow(order, protocol, &mut routes).await {
            tracing::debug!(?order, %error, "cannot ask for a neighbour");
            if matches!(error, NetlinkError::Closed) {
                routes = None;
            }
        }
    }
}

async fn follow(
    order: Order,
    protocol: Protocol,
    routes: &mut Option<KernelRoutes>,
) -> Result<(), NetlinkError> {
    let routes = match routes {
        Some(routes) => routes,
        none => none.insert(KernelRoutes::new(protocol).map_err(|_| NetlinkError::Closed)?),
    };
    match order {
        Order::Ask(ifindex, address) => routes.solicit(ifindex, address).await,
        Order::Doubt(ifindex, address) => routes.doubt(ifindex, address).await,
    }
}
