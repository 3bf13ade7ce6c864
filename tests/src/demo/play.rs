//! Plays the story on the scene, moment by moment, and shows what happens.
#![expect(clippy::disallowed_methods, reason = "the play runs in real time")]

use std::{
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::demo::{
    event::{Summary, What},
    interrupt,
    record::Record,
    scene::Scene,
    story::{Act, Step, View},
};

/// How often the scene is looked at: far less than anything in the story lasts.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks to one column of the timeline, and to one question to pingu.
const LOOKS_PER_COLUMN: u32 = 10;

/// A way to show the play.
pub(super) trait Show {
    /// Shows one moment; called once a column.
    fn moment(&mut self, record: &mut Record, title: &str, seconds: f64) -> Result<()>;
}

/// One line of text for each event.
pub(super) struct Lines<'a, W: Write>(pub(super) &'a mut W);

/// One object of JSON for each event.
pub(super) struct Json<'a, W: Write>(pub(super) &'a mut W);

/// Plays it all; fails only where it could not be played to its end.
pub(super) fn play(config: &Path, show: &mut dyn Show) -> Result<Summary> {
    let scene = Scene::build(config);
    let mut play = Play::new(scene);
    for look in 0_u32.. {
        if interrupt::is_wanted() {
            bail!("interrupted");
        }
        let now = Instant::now();
        let step = play.look(look.is_multiple_of(LOOKS_PER_COLUMN), now)?;
        if look.is_multiple_of(LOOKS_PER_COLUMN) || !matches!(step, Step::Wait) {
            let seconds = play.record.seconds(now);
            show.moment(&mut play.record, play.act.title(), seconds)?;
        }
        match step {
            Step::Wait | Step::Next(_) => thread::sleep(LOOK_EVERY),
            Step::End => return Ok(play.record.summary(None, now)),
            Step::Fail(failure) => return Ok(play.record.summary(Some(failure.to_owned()), now)),
        }
    }
    bail!("the play never ended")
}

struct Play {
    scene: Scene,
    record: Record,
    act: Act,
    began: Instant,
    /// The kernel's route was pingu's own when it was last looked at: at each change, and once a column.
    own: bool,
}

impl Play {
    fn new(scene: Scene) -> Self {
        let now = Instant::now();
        let mut record = Record::new(now);
        record.note(now, What::Started);
        record.note(
            now,
            What::Act {
                act: Act::Starting.title(),
            },
        );
        Self {
            scene,
            record,
            act: Act::Starting,
            began: now,
            own: false,
        }
    }

    fn look(&mut self, ask: bool, now: Instant) -> Result<Step> {
        if let Some(obituary) = self.scene.obituary() {
            bail!("{obituary}");
        }
        // The control socket is not there in the first moments.
        if ask && let Ok(status) = self.scene.status() {
            self.record.note_status(&status, now);
        }
        let changes = self.scene.route_changes();
        self.record.note_routes(&changes);
        let pings = self.scene.lan_pings();
        self.record.note_pings(pings);

        if ask || !changes.is_empty() {
            self.own = self
                .record
                .route
                .is_some_and(|uplink| self.scene.has_own_route(uplink));
        }
        let view = View {
            both_up: self
                .record
                .uplinks
                .iter()
                .all(|uplink| uplink.state == "up"),
            route: self.record.route,
            own: self.own,
            lan_flows: self.record.lan_flows(self.began),
        };
        let step = self.act.step(&view, self.began, now);
        if let Step::Next(act) = step {
            self.enter(act);
        }
        Ok(step)
    }

    fn enter(&mut self, act: Act) {
        self.act = act;
        self.began = Instant::now();
        self.record.note(self.began, What::Act { act: act.title() });
        match act {
            Act::Cut => self.record.cut = Some(self.scene.cut()),
            Act::Repaired => self.record.repair = Some(self.scene.repair()),
            Act::Starting | Act::FirstChoice | Act::SecondChoice | Act::Back => {}
        }
    }
}

impl<W: Write> Show for Lines<'_, W> {
    fn moment(&mut self, record: &mut Record, _title: &str, _seconds: f64) -> Result<()> {
        for event in record.events.drain(..) {
            writeln!(self.0, "{:>7.2} s  {}", event.at_s, event.what)?;
        }
        Ok(self.0.flush()?)
    }
}

impl<W: Write> Show for Json<'_, W> {
    fn moment(&mut self, record: &mut Record, _title: &str, _seconds: f64) -> Result<()> {
        for event in record.events.drain(..) {
            writeln!(self.0, "{}", serde_json::to_string(&event)?)?;
        }
        Ok(self.0.flush()?)
    }
}
