//! The picture: a lane per uplink, the active route and the LAN's losses, one column per moment. Pure text.

use std::collections::VecDeque;

use crate::demo::record::Record;

/// Widths in characters: the whole picture fits an old terminal.
pub(super) const WIDTH: usize = 79;
const LABEL: usize = 20;
const FIGURE: usize = 11;
const COLUMNS_MAX: usize = WIDTH - LABEL - FIGURE;

/// Event lines below the lanes.
const EVENTS_SHOWN: usize = 6;

/// Lines of the picture.
pub(super) const HEIGHT: usize = 8 + EVENTS_SHOWN;

/// The RTT that fills the lowest block, in microseconds; each further block stands for four times as much.
const LOWEST_US: f64 = 25.0;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One uplink at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// Nothing is known yet.
    Unknown,
    /// It works, with this round-trip time.
    Rtt { us: f64 },
    /// Probes were lost, or it is down.
    Lost,
}

/// One moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) lanes: [Cell; 2],
    pub(super) route: Option<usize>,
    pub(super) lan_lost: usize,
    /// Any of the LAN's packets were decided in it.
    pub(super) lan_seen: bool,
}

/// The latest columns, as many as fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    columns: VecDeque<Column>,
}

/// How words are dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colours,
}

#[derive(Clone, Copy)]
enum Ink {
    None,
    Green,
    Red,
    Yellow,
    Bold,
    Dim,
}

impl Timeline {
    pub(super) fn push(&mut self, column: Column) {
        if self.columns.len() == COLUMNS_MAX {
            self.columns.pop_front();
        }
        self.columns.push_back(column);
    }

    /// The picture's lines, [`HEIGHT`] of them, each at most [`WIDTH`] characters wide.
    pub(super) fn picture(
        &self,
        record: &Record,
        title: &str,
        seconds: f64,
        paint: Paint,
    ) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{}{:>5.1} s",
                paint.dress(
                    &pad("pingu: two uplinks, one failover", WIDTH - 7),
                    Ink::Bold
                ),
                seconds
            ),
            paint.dress(&fit(&format!("> {title}"), WIDTH), Ink::Yellow),
            String::new(),
        ];
        for (index, uplink) in record.uplinks.iter().enumerate() {
            let ink = match uplink.state.as_str() {
                "up" => Ink::Green,
                "down" => Ink::Red,
                _ => Ink::Dim,
            };
            let state = if uplink.state.is_empty() {
                "?"
            } else {
                &uplink.state
            };
            let label = format!(
                "{} {}",
                pad(&uplink.name, LABEL - 9),
                paint.dress(&pad(state, 7), ink)
            );
            let cells: String = self
                .columns
                .iter()
                .map(|column| lane(column.lanes[index], paint))
                .collect();
            let rtt = uplink.rtt_us.filter(|_| uplink.state == "up");
            let figure = rtt.map_or_else(String::new, |us| format!("{:.2} ms", us / 1000.0));
            lines.push(self.line(&label, &cells, &figure));
        }
        let cells: String = self
            .columns
            .iter()
            .map(|column| route(column.route, record, paint))
            .collect();
        let active = record
            .route
            .map_or("none", |index| record.uplinks[index].name.as_str());
        lines.push(self.line(&pad("kernel's route", LABEL - 1), &cells, active));
        let cells: String = self
            .columns
            .iter()
            .map(|column| lan(column, paint))
            .collect();
        let lost = format!("{} lost", record.lan_lost());
        lines.push(self.line(&pad("LAN packets lost", LABEL - 1), &cells, &lost));
        lines.push(String::new());
        let first = record.events.len().saturating_sub(EVENTS_SHOWN);
        for event in &record.events[first..] {
            lines.push(paint.dress(
                &fit(&format!("{:>7.2} s  {}", event.at_s, event.what), WIDTH),
                Ink::Dim,
            ));
        }
        lines.resize(HEIGHT, String::new());
        lines
    }

    fn line(&self, label: &str, cells: &str, figure: &str) -> String {
        let filler = " ".repeat(COLUMNS_MAX - self.columns.len());
        format!(
            "{label} {cells}{filler} {:>1$}",
            fit(figure, FIGURE - 1),
            FIGURE - 1
        )
    }
}

impl Paint {
    fn dress(self, text: &str, ink: Ink) -> String {
        let code = match (self, ink) {
            (Self::Plain, _) | (_, Ink::None) => return text.to_owned(),
            (Self::Colours, Ink::Green) => 32,
            (Self::Colours, Ink::Red) => 31,
            (Self::Colours, Ink::Yellow) => 33,
            (Self::Colours, Ink::Bold) => 1,
            (Self::Colours, Ink::Dim) => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

fn lane(cell: Cell, paint: Paint) -> String {
    match cell {
        Cell::Unknown => " ".to_owned(),
        Cell::Rtt { us } => paint.dress(&block(us).to_string(), Ink::Green),
        Cell::Lost => paint.dress("×", Ink::Red),
    }
}

/// The active uplink's initial.
fn route(uplink: Option<usize>, record: &Record, paint: Paint) -> String {
    let Some(index) = uplink else {
        return paint.dress("!", Ink::Red);
    };
    let initial = record.uplinks[index].name.chars().next().unwrap_or('?');
    paint.dress(
        &initial.to_string(),
        if index == 0 { Ink::None } else { Ink::Yellow },
    )
}

/// How many packets were lost, up to nine.
fn lan(column: &Column, paint: Paint) -> String {
    match column.lan_lost {
        0 if column.lan_seen => paint.dress("·", Ink::Dim),
        0 => " ".to_owned(),
        lost => paint.dress(&lost.min(9).to_string(), Ink::Red),
    }
}

fn block(us: f64) -> char {
    let steps = (us / LOWEST_US).max(1.0).log(4.0).ceil() as usize;
    BLOCKS[steps.min(BLOCKS.len() - 1)]
}

/// Cut to a width, with a mark where something is missing.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Cut or filled up to a width.
fn pad(text: &str, width: usize) -> String {
    format!("{:<width$}", fit(text, width))
}

#[cfg(test)]
mod tests;
