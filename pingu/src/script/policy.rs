//! A script that advises the daemon, on a thread of its own: nobody ever waits for it.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    engine::UplinkView,
    script::{
        module::{Host, Pen, RouteOrder, Timers},
        vm::{self, Fault, ScriptError, VmOptions, budget::Budget},
    },
};

mod script;

use script::Script;

/// What the loop has not taken yet. Whoever ranks waits for a place; a wish without one is refused.
const WORDS_MAX: usize = 64;

/// Wishes that a script may have in [`WISHES_WINDOW`]: the loop has other things to do.
const WISHES_MAX: u32 = 64;

const WISHES_WINDOW: Duration = Duration::from_secs(1);

/// Switches that wait to be asked about: one for each group, in practice.
const SWITCHES_MAX: usize = 1024;

/// What to run.
#[derive(Clone)]
pub struct PolicyOptions {
    /// What errors call it.
    pub file: PathBuf,
    /// Its text.
    pub text: Vec<u8>,
    /// What it may do.
    pub vm: VmOptions,
    /// Says what time it is.
    pub clock: fn() -> Instant,
}

/// What a script says.
#[derive(Debug)]
pub enum Word {
    /// Its functions are known: whether it ranks, and whether it vetoes.
    Ready {
        /// It has a function `rank`.
        ranks: bool,
        /// It has a function `veto`.
        vetoes: bool,
    },
    /// The names of uplinks, the most wanted first; none: as if there were no script.
    Order(Option<Vec<String>>),
    /// Whether traffic may leave one uplink for another: why not, or nothing.
    Veto {
        /// From which uplink.
        from: String,
        /// To which.
        to: String,
        /// Why not; none: it may.
        veto: Option<String>,
    },
    /// A timer's function has returned, after one that failed.
    TimerDone,
    /// A wish.
    Wish(Wish),
    /// Something went wrong in the function of this name.
    Failed(&'static str, ScriptError),
}

/// What a script wishes.
#[derive(Debug)]
pub enum Wish {
    /// To prefer an uplink, or no more.
    Prefer(Option<String>),
    /// To pin an uplink, or no more.
    Pin(Option<String>),
    /// A route.
    Route(RouteOrder),
}

/// A running script. Dropped, it ends as soon as it returns.
pub struct Policy {
    inbox: Arc<Inbox>,
    words: mpsc::Receiver<Word>,
}

/// What the thread is to do, coalesced.
#[derive(Default)]
struct Inbox {
    orders: Mutex<Orders>,
    news: Condvar,
    /// Odd while a call is under way.
    calls: AtomicU64,
    budget: Mutex<Option<Arc<Budget>>>,
}

#[derive(Default)]
struct Orders {
    views: Option<Arc<Vec<UplinkView>>>,
    switches: Vec<(String, String)>,
    stop: bool,
}

impl Inbox {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().expect("nobody panics while holding it")
    }
}

impl Policy {
    /// Starts the thread, which runs the script's main part first. `views` is what `pingu.uplinks()` returns until there is more.
    ///
    /// # Errors
    /// When there is no room for another thread.
    pub fn start(options: PolicyOptions, views: Vec<UplinkView>) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let own = Arc::clone(&inbox);
        vm::thread::spawn("script", move || work(&options, views, &own, &sender))?;
        Ok(Self { inbox, words })
    }

    /// Tells what there is to know of the uplinks; what was not looked at yet is replaced.
    pub fn tell(&self, views: Vec<UplinkView>) {
        self.inbox.orders().views = Some(Arc::new(views));
        self.inbox.news.notify_one();
    }

    /// Asks whether traffic may leave one uplink for another.
    pub fn ask(&self, from: &str, to: &str) {
        let mut orders = self.inbox.orders();
        if orders.switches.len() < SWITCHES_MAX {
            orders.switches.push((from.to_owned(), to.to_owned()));
        }
        self.inbox.news.notify_one();
    }

    /// What the script says next; none once its thread has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Word> {
        self.words.recv().await
    }

    /// The number of the call under way; none while there is none.
    pub fn call_under_way(&self) -> Option<u64> {
        let calls = self.inbox.calls.load(Ordering::Acquire);
        (calls % 2 == 1).then_some(calls)
    }

    /// By how much the call under way has exceeded its processor time.
    pub fn exceeded_by(&self) -> Option<Duration> {
        let budget = self
            .inbox
            .budget
            .lock()
            .expect("nobody panics while holding it");
        budget.as_ref()?.exceeded_by()
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.inbox.orders().stop = true;
        self.inbox.news.notify_one();
    }
}

/// What the script's wishes go through.
struct Desk {
    views: Mutex<Arc<Vec<UplinkView>>>,
    words: mpsc::Sender<Word>,
    pen: Pen,
    clock: fn() -> Instant,
    /// Since when wishes are counted, and how many there were.
    wishes: Mutex<(Instant, u32)>,
}

impl Desk {
    fn wish(&self, wish: Wish) -> Result<(), String> {
        let now = (self.clock)();
        let mut wishes = self.wishes.lock().expect("nobody panics while holding it");
        if now.saturating_duration_since(wishes.0) > WISHES_WINDOW {
            *wishes = (now, 0);
        }
        wishes.1 = wishes.1.saturating_add(1);
        let too_many = || format!("more than {WISHES_MAX} wishes in a second are refused");
        if wishes.1 > WISHES_MAX {
            return Err(too_many());
        }
        let sent = self.words.try_send(Word::Wish(wish));
        sent.map_err(|_| too_many())
    }

    fn known(&self, name: Option<&str>) -> Result<Option<String>, String> {
        let Some(name) = name else {
            return Ok(None);
        };
        let uplinks = self.uplinks();
        if uplinks.iter().any(|view| view.name == name) {
            return Ok(Some(name.to_owned()));
        }
        let names: Vec<&str> = uplinks
            .iter()
            .take(8)
            .map(|view| view.name.as_str())
            .collect();
        Err(format!(
            "there is no uplink {name:?}; there are: {}",
            names.join(", ")
        ))
    }
}

impl Host for Desk {
    fn uplinks(&self) -> Arc<Vec<UplinkView>> {
        Arc::clone(&self.views.lock().expect("nobody panics while holding it"))
    }

    fn prefer(&self, name: Option<&str>) -> Result<(), String> {
        self.wish(Wish::Prefer(self.known(name)?))
    }

    fn pin(&self, name: Option<&str>) -> Result<(), String> {
        self.wish(Wish::Pin(self.known(name)?))
    }

    fn route(&self, order: RouteOrder) -> Result<(), String> {
        self.wish(Wish::Route(order))
    }

    fn log(&self, text: &str) {
        if let Some(text) = self.pen.take(text) {
            tracing::info!("script: {text}");
        }
    }
}

/// The thread.
fn work(
    options: &PolicyOptions,
    views: Vec<UplinkView>,
    inbox: &Inbox,
    words: &mpsc::Sender<Word>,
) {
    let desk = Arc::new(Desk {
        views: Mutex::new(Arc::new(views)),
        words: words.clone(),
        pen: Pen::new(options.clock),
        clock: options.clock,
        wishes: Mutex::new(((options.clock)(), 0)),
    });
    let script = match Script::start(options, inbox, desk) {
        Ok(script) => script,
        Err(error) => {
            let _gone = words.blocking_send(Word::Failed("the script", error));
            return;
        }
    };
    let (ranks, vetoes) = (script.rank.is_some(), script.veto.is_some());
    let mut timer_failed = false;
    let mut heard = words.blocking_send(Word::Ready { ranks, vetoes }).is_ok();
    while heard {
        let Some((views, switches)) = wait(inbox, &script.timers, options.clock) else {
            return;
        };
        if let Some(views) = views {
            *script
                .desk
                .views
                .lock()
                .expect("nobody panics while holding it") = views;
            let word = busy(inbox, || script.rank());
            heard &= word.is_none_or(|word| words.blocking_send(word).is_ok());
        }
        for (from, to) in switches {
            let veto = busy(inbox, || script.veto(&from, &to)).unwrap_or_else(|error| {
                heard &= words.blocking_send(Word::Failed("veto", error)).is_ok();
                // The built-in policy stands behind it.
                None
            });
            let word = Word::Veto { from, to, veto };
            heard &= words.blocking_send(word).is_ok();
        }
        let due = busy(inbox, || {
            script.timers.run_due(&script.vm, (options.clock)())
        });
        heard &= match due {
            Some(Err(error)) => {
                timer_failed = true;
                words.blocking_send(Word::Failed("a timer", error)).is_ok()
            }
            Some(Ok(())) if std::mem::take(&mut timer_failed) => {
                words.blocking_send(Word::TimerDone).is_ok()
            }
            Some(Ok(())) | None => true,
        };
    }
}

/// New views, and switches to be asked about.
type Work = (Option<Arc<Vec<UplinkView>>>, Vec<(String, String)>);

/// Waits until there is something to do; none: to end.
fn wait(inbox: &Inbox, timers: &Timers, clock: fn() -> Instant) -> Option<Work> {
    /// Without anything to do the thread looks around this often.
    const LOOK_EVERY: Duration = Duration::from_secs(60);

    let mut orders = inbox.orders();
    loop {
        if orders.stop {
            return None;
        }
        let due = timers
            .next_due()
            .map(|due| due.saturating_duration_since(clock()));
        let is_due = due.is_some_and(|left| left.is_zero());
        if orders.views.is_some() || !orders.switches.is_empty() || is_due {
            return Some((orders.views.take(), std::mem::take(&mut orders.switches)));
        }
        let pause = due.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        let woken = inbox.news.wait_timeout(orders, pause);
        (orders, _) = woken.expect("nobody panics while holding it");
    }
}

/// Runs a call that may be followed from outside.
fn busy<R>(inbox: &Inbox, call: impl FnOnce() -> R) -> R {
    inbox.calls.fetch_add(1, Ordering::AcqRel);
    let outcome = call();
    inbox.calls.fetch_add(1, Ordering::AcqRel);
    outcome
}

/// A fault of the machine itself rather than of the script's text.
pub fn abandoned(why: &str) -> ScriptError {
    ScriptError::new(Fault::OverTime, why)
}

#[cfg(test)]
mod tests;
