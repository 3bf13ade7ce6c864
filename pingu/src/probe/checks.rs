//! Runs the checks of uplinks. Every socket is bound to the uplink's interface and source, so that it leaves by it whatever the
//! main table says; a rule and a table of the uplink's lead it out.

use std::{fmt::Display, fs, future::Future, sync::Arc, time::Instant};

use crate::{
    config::CheckKind,
    engine::check::{Cause, CheckOrder, CheckOutcome, CheckWay, Failure},
};

mod bound;
mod dns;
mod echo;
mod exec;
mod http;
pub mod meter;
mod mtu;
mod tls;

use meter::{Line, Meter};

/// The value of `rp_filter` that drops what would not be answered the same way (ip-sysctl, `rp_filter`).
const STRICT: u8 = 1;

/// Runs a check until it is decided, or until its time is over, and adds up what it costs. Dropped, it leaves nothing behind.
pub async fn run(order: &CheckOrder, deadline: Instant, meter: &Arc<Meter>) -> CheckOutcome {
    let way = &Line {
        way: &order.way,
        meter,
    };
    let outcome = match &order.check.kind {
        CheckKind::Tcp(address) => bound::connect(way, *address, deadline)
            .await
            .map(|_| format!("connected to {address}")),
        CheckKind::Http(check) => http::run(way, check, deadline).await,
        CheckKind::Dns(check) => dns::run(way, check, deadline).await,
        CheckKind::Exec(check) => exec::run(order, check, deadline).await,
        CheckKind::Mtu(check) => mtu::run(way, check, order.check.timeout).await,
    };
    outcome.map_err(|failure| with_hint(failure, &order.way))
}

/// Waits for one step of a check as long as there is time.
async fn step<T>(
    deadline: Instant,
    doing: impl Display,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout_at(deadline.into(), future).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(
            Cause::Timeout,
            format!("time is over: {doing}"),
        )),
    }
}

/// Says where answers may have been dropped by this machine itself.
fn with_hint(mut failure: Failure, way: &CheckWay) -> Failure {
    if failure.cause == Cause::Timeout
        && way.is_lent
        && way.v4.is_some()
        && is_strict(&way.interface)
    {
        failure.text += " (rp_filter is strict: answers are dropped unless main's default leaves here, too; give the uplink a \
                         `table`, or set it to 2)";
    }
    failure
}

fn is_strict(interface: &str) -> bool {
    let filter = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter")).ok()?;
        text.trim().parse::<u8>().ok()
    };
    filter(interface).max(filter("all")) == Some(STRICT)
}

impl Failure {
    fn new(cause: Cause, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cause, text }
    }

    /// This machine could not even try.
    fn local(doing: impl Display, error: impl Display) -> Self {
        Self::new(Cause::Local, format!("{doing}: {error}"))
    }
}
