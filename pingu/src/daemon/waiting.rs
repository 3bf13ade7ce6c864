//! How the loop waits, and the turns in which there is nothing to do but probe: these are most, and each step that is left out of them is
//! one whose code and data need not come back into the processor's caches.

use std::{iter, time::Instant};

use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::{
    daemon::{AUDIT_EVERY, Daemon, Event, alarm::Alarm, clock, probe},
    engine::Engine,
    probe::transport::Transport,
};

impl Daemon {
    /// The next event. Probes are sent meanwhile, as long as the engine wants nothing else.
    pub(super) async fn next_event(&mut self) -> Event {
        let now = clock();
        let wakes = [
            self.saver.next_wake(),
            self.flows.next_wake(),
            self.adviser.next_wake(),
        ];
        // A look that is under way wakes the loop by itself.
        let looking = self.lookout.is_under_way();
        let look_at = (!looking).then_some(self.look_at);
        let due = wakes.into_iter().chain([look_at]).flatten().min();
        let due = due.unwrap_or(now + AUDIT_EVERY);
        let at_once = self.hooks_due || self.telling.is_due();
        let due = if at_once { now } else { due };
        let ahead = match self.checks.are_ending() {
            true => now,
            false => self.hooks.next_check(now).min(due),
        };
        let telling = self.commands.next_telling(now);
        let attaching = self.transport.is_attaching();
        let probing = Probing {
            converged: self.converged,
            due,
            until: telling.map_or(ahead, |telling| telling.min(ahead)),
            engine: &mut self.engine,
            transport: &mut self.transport,
            alarm: &mut self.alarm,
            decided: &mut self.decided,
        };
        // What cannot happen is not asked about: each costs some of every wake-up.
        let (checking, saving) = (self.checks.any(), self.saver.is_under_way());
        let (sticking, commanding) = (self.pins.follows_a_file(), self.commands.any());
        let advising = self.adviser.any();
        let news = async {
            tokio::select! {
                biased;
                wish = self.signals.next() => Event::Wished(wish),
                // Before news, which may come in a flood.
                request = self.control.next() => Event::Asked(request),
                news = self.watch.next() => Event::News(news),
                sight = self.lookout.seen(), if looking => Event::Looked(sight),
                made = self.hooks.outcome(), if attaching => Event::Attached(made),
                result = self.checks.next(), if checking => Event::Checked(result),
                word = self.adviser.next(), if advising => Event::Advised(word),
                ran = self.commands.next(), if commanding => Event::Ran(ran),
                outcome = self.saver.ended(), if saving => Event::Saved(outcome),
                () = self.pins.changed(), if sticking => Event::Sticky,
            }
        };
        // This asks what is in it only after it was woken for that.
        let mut news: FuturesUnordered<_> = iter::once(news).collect();
        tokio::select! {
            biased;
            // Before the timer, which may always be due; what is due is done in every turn anyway.
            Some(event) = news.next() => event,
            event = probing.go_on() => event,
        }
    }
}

/// Probing, as long as nothing else is due.
struct Probing<'a> {
    engine: &'a mut Engine,
    transport: &'a mut Transport,
    alarm: &'a mut Alarm,
    /// When the engine last thought.
    decided: &'a mut Instant,
    /// The engine's revision that the kernel was last made to agree with.
    converged: Option<u64>,
    /// When the loop is to wake for something else.
    due: Instant,
    /// When a wake-up is for more than probing: then, or before if that need not wake the loop.
    until: Instant,
}

impl Probing<'_> {
    /// Returns when there is more to do. Safe to cancel.
    async fn go_on(self) -> Event {
        loop {
            let now = clock();
            let wake = self.engine.next_wake();
            let at = wake.map_or(self.due, |wake| wake.min(self.due));
            // With more to do at once, all others have their turn before it.
            let is_late = at <= now;
            self.alarm.wait(at, now).await;
            if is_late || clock() >= self.until {
                return Event::Due;
            }
            *self.decided = probe(self.engine, self.transport);
            if self.converged != Some(self.engine.revision())
                || self.engine.has_errands(*self.decided)
                || self.engine.in_doubt().is_some()
            {
                return Event::Probed;
            }
        }
    }
}
