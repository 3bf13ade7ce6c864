//! What the project promises of a figure, beside what was measured.

use serde::Serialize;

/// One promise and how it was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What is promised.
    pub what: String,
    /// The figure that was measured; none where it could not be, and why.
    pub measured: Result<f64, String>,
    /// The bound.
    pub bound: Bound,
    /// How figure and bound are written.
    pub unit: &'static str,
}

/// On which side of the goal a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Goal {
    /// A figure that should be no smaller.
    pub fn at_least(what: impl Into<String>, measured: f64, goal: f64, unit: &'static str) -> Self {
        Self::new(what, measured, Bound::AtLeast(goal), unit)
    }

    /// A figure that should be no greater.
    pub fn at_most(what: impl Into<String>, measured: f64, goal: f64, unit: &'static str) -> Self {
        Self::new(what, measured, Bound::AtMost(goal), unit)
    }

    fn new(what: impl Into<String>, measured: f64, bound: Bound, unit: &'static str) -> Self {
        let measured = if measured.is_finite() {
            Ok(measured)
        } else {
            Err("not measured in this run".to_owned())
        };
        Self {
            what: what.into(),
            measured,
            bound,
            unit,
        }
    }

    /// Whether it was kept; none where that is not known.
    pub fn is_met(&self) -> Option<bool> {
        let measured = *self.measured.as_ref().ok()?;
        Some(match self.bound {
            Bound::AtLeast(goal) => measured >= goal,
            Bound::AtMost(goal) => measured <= goal,
        })
    }

    fn line(&self) -> String {
        let (side, goal) = match self.bound {
            Bound::AtLeast(goal) => ("at least", goal),
            Bound::AtMost(goal) => ("at most", goal),
        };
        let verdict = match self.is_met() {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "unknown",
        };
        let measured = match &self.measured {
            Ok(measured) => format!("{} {}", figure(*measured), self.unit),
            Err(why) => why.clone(),
        };
        format!(
            "{verdict:<8} {:<78} {measured:>16}   (goal: {side} {} {})",
            self.what,
            figure(goal),
            self.unit
        )
    }
}

/// The goals as lines of a table.
pub fn lines(goals: &[Goal]) -> String {
    let lines: Vec<String> = goals.iter().map(Goal::line).collect();
    lines.join("\n")
}

/// Three digits that mean something, and no exponent.
pub fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 1.0 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_on_its_own_side_and_at_the_bound() {
        assert_eq!(Goal::at_least("a", 2.0, 2.0, "x").is_met(), Some(true));
        assert_eq!(Goal::at_least("a", 1.9, 2.0, "x").is_met(), Some(false));
        assert_eq!(Goal::at_most("a", 2.0, 2.0, "x").is_met(), Some(true));
        assert_eq!(Goal::at_most("a", 2.1, 2.0, "x").is_met(), Some(false));
    }

    #[test]
    fn a_figure_that_could_not_be_had_meets_nothing() {
        let goal = Goal::at_most("a", f64::NAN, 2.0, "x");
        assert_eq!(goal.is_met(), None);
        assert!(lines(&[goal]).starts_with("unknown"));
    }

    #[test]
    fn figures_keep_three_digits() {
        let written = [0.0123, 1.234, 12.34, 1234.5].map(figure);
        assert_eq!(written, ["0.012", "1.23", "12.3", "1234"]);
    }
}
