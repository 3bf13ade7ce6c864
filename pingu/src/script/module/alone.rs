//! The host of scripts that run without the daemon: there are no uplinks, but routes of pingu's own protocol, gone at the end.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Host, Pen, RouteOrder};
use crate::{
    engine::{ExtraRoute, UplinkView},
    netlink::{KernelRoutes, RouteTable},
    network::{Change, Route},
    units::Protocol,
};

/// Routes that a script may have at the same time.
const ROUTES_MAX: usize = 256;

/// Requests that wait: a script makes one and waits for its end.
const REQUESTS_MAX: usize = 4;

/// The kernel answers within microseconds; on a busy machine among many routes within some hundred milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

type Request = (RouteOrder, mpsc::Sender<Result<(), String>>);

/// The host. Dropped, it deletes the routes that were made through it.
pub struct Alone {
    requests: Option<mpsc::SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
    pen: Pen,
}

impl Alone {
    /// Its routes carry this protocol.
    ///
    /// # Errors
    /// When there is no room for another thread.
    pub fn new(protocol: Protocol, clock: fn() -> Instant) -> io::Result<Self> {
        let (requests, work) = mpsc::sync_channel(REQUESTS_MAX);
        let thread = thread::Builder::new()
            .name("script routes".to_owned())
            .spawn(move || serve(protocol, &work))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            pen: Pen::new(clock),
        })
    }

    /// The same as a host of a module.
    ///
    /// # Errors
    /// As [`Alone::new`].
    pub fn host(protocol: Protocol, clock: fn() -> Instant) -> io::Result<Arc<dyn Host>> {
        Ok(Arc::new(Self::new(protocol, clock)?))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told already.
            let _ = thread.join();
        }
    }
}

impl Host for Alone {
    fn uplinks(&self) -> Arc<Vec<UplinkView>> {
        Arc::default()
    }

    fn prefer(&self, _: Option<&str>) -> Result<(), String> {
        Err(no_uplinks("prefer"))
    }

    fn pin(&self, _: Option<&str>) -> Result<(), String> {
        Err(no_uplinks("pin"))
    }

    fn route(&self, order: RouteOrder) -> Result<(), String> {
        let gone = || "pingu.route: nobody writes routes any more".to_owned();
        let (answer, answered) = mpsc::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send((order, answer)).map_err(|_| gone())?;
        answered.recv_timeout(ANSWER_WITHIN).map_err(|_| gone())?
    }

    fn log(&self, text: &str) {
        if let Some(text) = self.pen.take(text) {
            tracing::info!("script: {text}");
        }
    }
}

fn no_uplinks(function: &str) -> String {
    format!(
        "pingu.{function}: there are no uplinks here; they are in a TOML file, with `script` beside them"
    )
}

/// The thread that writes.
fn serve(protocol: Protocol, requests: &mpsc::Receiver<Request>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut writer = Writer {
        protocol,
        table: None,
        made: Vec::new(),
    };
    for (order, answer) in requests {
        let outcome = match &runtime {
            Ok(runtime) => runtime.block_on(writer.follow(order)),
            Err(error) => Err(format!("pingu.route: {error}")),
        };
        // Whoever asked may have given up.
        let _ = answer.send(outcome);
    }
    if let Ok(runtime) = &runtime {
        runtime.block_on(writer.withdraw());
    }
}

struct Writer {
    protocol: Protocol,
    table: Option<KernelRoutes>,
    made: Vec<(ExtraRoute, Route)>,
}

impl Writer {
    async fn follow(&mut self, order: RouteOrder) -> Result<(), String> {
        match order {
            RouteOrder::Add(extra) => self.add(extra).await,
            delete => self.delete(|extra| delete.deletes(extra)).await,
        }
    }

    async fn add(&mut self, extra: ExtraRoute) -> Result<(), String> {
        if self.made.len() >= ROUTES_MAX {
            return Err(format!(
                "pingu.route: a script may have {ROUTES_MAX} routes at once"
            ));
        }
        if self.made.iter().any(|(made, _)| *made == extra) {
            return Ok(());
        }
        let protocol = self.protocol;
        let table = self.table()?;
        let snapshot = table.snapshot().await.map_err(told)?;
        let next_hop = extra.next_hop(&snapshot).ok_or_else(|| {
            format!("pingu.route: there is no way to {} now: no such interface, or no network with the gateway", extra.destination)
        })?;
        let route = extra.by(next_hop, protocol);
        let same = |there: &&Route| {
            (there.table, there.destination, there.metric)
                == (route.table, route.destination, route.metric)
        };
        if let Some(there) = snapshot.routes.iter().find(same) {
            return Err(format!("pingu.route: there is a route already: {there}"));
        }
        table
            .apply(&Change::Add(route.clone()))
            .await
            .map_err(told)?;
        self.made.push((extra, route));
        Ok(())
    }

    /// Deletes those of this script that are meant.
    async fn delete(&mut self, is_meant: impl Fn(&ExtraRoute) -> bool) -> Result<(), String> {
        let mut outcome = Ok(());
        let (meant, others) = std::mem::take(&mut self.made)
            .into_iter()
            .partition(|(extra, _)| is_meant(extra));
        self.made = others;
        let meant: Vec<(ExtraRoute, Route)> = meant;
        for (extra, route) in meant {
            let deleted = self.table()?.apply(&Change::Delete(route.clone())).await;
            if let Err(error) = deleted {
                outcome = Err(told(error));
                self.made.push((extra, route));
            }
        }
        outcome
    }

    async fn withdraw(&mut self) {
        if let Err(error) = self.delete(|_| true).await {
            tracing::warn!("a route of the script stays: {error}");
        }
    }

    fn table(&mut self) -> Result<&mut KernelRoutes, String> {
        if self.table.is_none() {
            let table = KernelRoutes::new(self.protocol);
            self.table = Some(table.map_err(|error| format!("pingu.route: {error}"))?);
        }
        Ok(self.table.as_mut().expect("it has just been made"))
    }
}

fn told(error: impl std::fmt::Display) -> String {
    format!("pingu.route: {error}")
}
