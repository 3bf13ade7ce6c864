//! Tells the service manager that pingu works, what it does, and that it is alive (sd_notify(3)). Without `NOTIFY_SOCKET` nobody is told.
//!
//! The watchdog is fed by a task on the loop's own thread, so that no amount of work between two turns of the loop keeps it hungry: it has
//! its turn whenever the loop waits for anything. A thread that is stuck feeds nothing, and neither does a loop that waits too long.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    daemon::{Daemon, clock},
    engine::{Engine, State},
    units::UplinkId,
};

/// The loop turns every ten seconds at the latest, but may have to write a hundred thousand routes between two turns. One that has not
/// turned for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Faster than this nobody can want it.
const BEAT_MIN: Duration = Duration::from_millis(10);

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
    is_ready: bool,
    /// What was last told.
    status: String,
    /// After which look.
    told_of: Option<Instant>,
    turned: watch::Sender<Instant>,
    beating: Option<JoinHandle<()>>,
}

impl Notifier {
    /// As the environment says.
    pub(crate) fn new(now: Instant) -> Self {
        let path = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let socket = path.and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let path = path.to_string_lossy();
                tracing::warn!(%error, %path, "cannot reach the service manager");
                None
            }
        });
        let (turned, turns) = watch::channel(now);
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_for_us =
            number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| is_for_us && *us > 0);
        let fed = socket.as_ref().zip(watchdog).and_then(|(socket, us)| {
            let every = (Duration::from_micros(us) / 2).max(BEAT_MIN);
            Some(tokio::spawn(feed(socket.try_clone().ok()?, every, turns)))
        });
        Self {
            socket,
            is_ready: false,
            status: String::new(),
            told_of: None,
            turned,
            beating: fed,
        }
    }

    /// The loop has begun a turn.
    pub(crate) fn turn(&self, now: Instant) {
        if self.beating.is_some() {
            self.turned.send_replace(now);
        }
    }

    /// Tells once that pingu works: it has seen the kernel's routes at `looked`, hooks are attached, and what was decided is written. Later
    /// what has changed.
    fn works(&mut self, engine: &Engine, looked: Instant, is_new: bool) {
        if self.socket.is_none() || !(is_new || self.told_of != Some(looked)) {
            return;
        }
        self.told_of = Some(looked);
        self.says(described(engine));
    }

    /// Tells what is so, where that is new; the first time, that what was started works.
    pub(crate) fn says(&mut self, status: String) {
        if !self.is_ready {
            self.ready(&status);
        } else if status != self.status {
            tell(self.socket.as_ref(), &format!("STATUS={status}"));
        }
        self.status = status;
    }

    /// Tells that what was started works.
    pub(crate) fn ready(&mut self, status: &str) {
        self.is_ready = true;
        tell(self.socket.as_ref(), &format!("READY=1\nSTATUS={status}"));
    }

    /// Tells that pingu ends.
    pub(crate) fn stopping(&self, status: &str) {
        tell(
            self.socket.as_ref(),
            &format!("STOPPING=1\nSTATUS={status}"),
        );
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(beating) = self.beating.take() {
            beating.abort();
        }
    }
}

impl Daemon {
    /// Tells the service manager what there is to tell after a turn; `changed`: an uplink's state is another.
    pub(super) fn notify(&mut self, changed: bool) {
        // Before the first look, and while hooks are first attached, nothing works yet.
        let is_attaching = self.hooks_due || self.transport.is_attaching();
        if self.engine.is_oriented() && (self.notifier.is_ready || !is_attaching) {
            self.notifier.works(&self.engine, self.last_look, changed);
        }
    }
}

/// Feeds the watchdog as long as the loop turns.
async fn feed(socket: UnixDatagram, every: Duration, turns: watch::Receiver<Instant>) {
    loop {
        let turned = *turns.borrow();
        if clock().saturating_duration_since(turned) < STUCK_AFTER {
            tell(Some(&socket), "WATCHDOG=1");
        }
        tokio::time::sleep(every).await;
    }
}

/// The state of all, in one short line.
fn described(engine: &Engine) -> String {
    let (mut up, mut down) = (0, Vec::new());
    let uplinks = &engine.config().uplinks;
    for (index, uplink) in uplinks.iter().enumerate() {
        match engine.state_of(UplinkId(index as u16)) {
            State::Up => up += 1,
            State::Down => down.push(uplink.name.as_str()),
            State::Unknown => {}
        }
    }
    let all = uplinks.len();
    let active = engine.active();
    let active = active.map(|id| uplinks[id.index()].name.as_str());
    let traffic = match active {
        Some(name) => format!("traffic leaves by {}", plain(name)),
        None => "traffic leaves by none of them".to_owned(),
    };
    let mut text = format!("{up} of {all} uplinks up, {traffic}");
    if !down.is_empty() {
        let more = down.len().saturating_sub(NAMES_MAX);
        let names: Vec<String> = down
            .iter()
            .take(NAMES_MAX)
            .map(|name| plain(name))
            .collect();
        text.push_str(&format!("; down: {}", names.join(", ")));
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
    }
    text
}

/// So many names fit into a line that people read.
const NAMES_MAX: usize = 4;

/// A name that ends no line of the message.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let bytes = path.as_bytes();
    let address = match bytes.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // Whoever does not read must not stop the loop.
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

fn tell(socket: Option<&UnixDatagram>, text: &str) {
    if let Some(socket) = socket
        && let Err(error) = socket.send(text.as_bytes())
    {
        tracing::debug!(%error, "the service manager was not told");
    }
}
