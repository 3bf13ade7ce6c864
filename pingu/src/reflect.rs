//! `pingu reflect`: answers the probes of other pingus in the kernel, with its own receive and send stamps and a count, on interfaces that
//! it follows as they come, go and change their addresses.

use std::{io, io::Write, net::IpAddr, time::Duration};

use anyhow::{Context, bail};
use ipnet::IpNet;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    config::uplink::{INTERFACE_ALLOWED, interface_is_good},
    daemon::notify::Notifier,
    netlink::{KernelRoutes, NetlinkError, watch::Watch},
    network::News,
    probe::kernel::reflector::Reflector,
    reflect::{desired::Desires, service::Services, statistics::Statistics},
    units::Protocol,
};

mod desired;
mod driver;
mod service;
mod statistics;

pub use service::HookChoice;

/// How many requests are answered in a second unless something else is asked for: a hundred a second of each of a hundred paths, or the
/// ten probes of a thousand. In Ethernet frames of ordinary probes that is some ten megabits.
pub const LIMIT: u32 = 10_000;

/// Above this, whole nanoseconds between two requests are too coarse.
const LIMIT_MAX: i64 = 1_000_000;

/// A limit that may be asked for.
pub fn limit() -> impl clap::builder::TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(..=LIMIT_MAX)
}

/// What is asked of a reflector.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interfaces to answer on, by name; they need not exist yet.
    pub interfaces: Vec<String>,
    /// Where requests may come from; empty: from anywhere.
    pub from: Vec<IpNet>,
    /// How many requests are answered in a second; 0: any number.
    pub limit: u32,
    /// Which hook to use.
    pub hook: HookChoice,
    /// Whether statistics are printed as JSON.
    pub json: bool,
}

/// A name that an interface may have.
///
/// # Errors
/// What it must be, where it is none.
pub fn interface(text: &str) -> Result<String, String> {
    if interface_is_good(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be {INTERFACE_ALLOWED}"))
    }
}

/// News come in heaps; after one look the next waits this long.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Whether programs still sit where they were put is looked at this often: a device that moves away and back takes them off silently, and
/// the other end of a veth pair may stop to take XDP frames.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Own routes are of no interest here; this number is nobody's.
const NO_PROTOCOL: Protocol = Protocol(0);

/// Runs until SIGINT or SIGTERM; prints statistics at SIGUSR1 and at the end.
///
/// # Errors
/// When the programs cannot be loaded, when an interface that is there cannot be served at the start, or when netlink is lost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut on_int = signal(SignalKind::interrupt())?;
    let mut on_term = signal(SignalKind::terminate())?;
    let mut on_print = signal(SignalKind::user_defined1())?;
    let mut watch = Watch::new(NO_PROTOCOL).context("cannot listen to the kernel's news")?;
    let mut routes = KernelRoutes::new(NO_PROTOCOL).context("cannot talk to the kernel")?;
    let begin_ns = rand::random::<u32>();
    let begin_ns = u64::from(begin_ns) << 30;
    let reflector = Reflector::load(&prefixes(&options.from), options.limit, begin_ns)
        .context("cannot load the eBPF programs")?;
    let mut notifier = Notifier::new(Instant::now().into_std());
    let mut services = Services::new(reflector, options.hook);
    let mut statistics = Statistics::new(options.limit);
    let first = look(&mut routes, &options.interfaces).await?;
    let failures = services.follow(first?);
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    let mut check = tokio::time::interval(CHECK_EVERY);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look_at: Option<Instant> = None;
    loop {
        notifier.turn(Instant::now().into_std());
        notifier.says(services.summary());
        let due = look_at.unwrap_or_else(|| Instant::now() + CHECK_EVERY);
        tokio::select! {
            biased;
            _ = on_int.recv() => break,
            _ = on_term.recv() => break,
            _ = check.tick() => {
                statistics.watch_limit(&services, Instant::now().into_std());
                look_at = look_at.or(Some(Instant::now()));
            }
            () = tokio::time::sleep_until(due), if look_at.is_some() => {
                look_at = None;
                match look(&mut routes, &options.interfaces).await? {
                    // What stands in the way was logged.
                    Ok(desired) => drop(services.follow(desired)),
                    Err(error) => tracing::debug!(%error, "this look failed, another follows"),
                }
            }
            news = watch.next() => match news {
                Ok(News::Changed | News::Overrun) => {
                    look_at = look_at.or(Some(Instant::now() + DEBOUNCE));
                }
                Ok(News::Neighbour(_) | News::Interfered(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "the news socket failed, opening another");
                    watch = Watch::new(NO_PROTOCOL).context("cannot listen to the kernel's news")?;
                }
            },
            // Last: whoever asks without end shall not keep the rest from being done.
            _ = on_print.recv() => print(&statistics.render(&services, options.json)?)?,
        }
    }
    notifier.stopping("taking its programs off");
    print(&statistics.render(&services, options.json)?)
}

/// What is to be served, by a fresh look at the kernel; the inner error is one that another look may not have.
async fn look(
    routes: &mut KernelRoutes,
    interfaces: &[String],
) -> anyhow::Result<Result<Desires, NetlinkError>> {
    match routes.interfaces().await {
        Ok((links, addresses)) => Ok(Ok(desired::desired(interfaces, &links, &addresses))),
        Err(error @ NetlinkError::Closed) => {
            Err(error).context("cannot look at the kernel's interfaces")
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Everything, where nothing is given.
fn prefixes(from: &[IpNet]) -> Vec<IpNet> {
    if !from.is_empty() {
        return from.to_vec();
    }
    [IpAddr::from([0; 4]), IpAddr::from([0; 16])]
        .map(|address| IpNet::new(address, 0).expect("a prefix may be empty"))
        .to_vec()
}

/// Prints to standard output; a reader that has gone is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
