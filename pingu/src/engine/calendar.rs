//! The hours, days, weeks and months of the calendar in UTC, of which budgets are made.

use jiff::{Timestamp, ToSpan, Unit, civil::Weekday, tz::TimeZone};

use crate::config::BudgetTime;

/// One hour, day, week or month, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) begins_s: i64,
    pub(crate) ends_s: i64,
}

impl Span {
    /// A time lies in it.
    pub(crate) fn holds(&self, at_s: i64) -> bool {
        (self.begins_s..self.ends_s).contains(&at_s)
    }

    /// The one in which a time lies; none beyond the calendar's end.
    pub(crate) fn around(time: BudgetTime, at_s: i64) -> Option<Self> {
        let at = Timestamp::from_second(at_s).ok()?.to_zoned(TimeZone::UTC);
        let midnight = at.start_of_day().ok()?;
        let (begins, length) = match time {
            BudgetTime::Hour => (at.round(hour()).ok()?, 1.hour()),
            BudgetTime::Day => (midnight, 1.day()),
            BudgetTime::Week => {
                let days = midnight.weekday().since(Weekday::Monday);
                (midnight.checked_sub(i64::from(days).days()).ok()?, 1.week())
            }
            BudgetTime::Month => (midnight.first_of_month().ok()?, 1.month()),
        };
        let ends = begins.checked_add(length).ok()?;
        Some(Self {
            begins_s: begins.timestamp().as_second(),
            ends_s: ends.timestamp().as_second(),
        })
    }
}

fn hour() -> jiff::ZonedRound {
    jiff::ZonedRound::new()
        .smallest(Unit::Hour)
        .mode(jiff::RoundMode::Floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn each_time_lies_in_its_hour_day_week_and_month() {
        for (time, at, begins, ends) in [
            (
                BudgetTime::Hour,
                "2026-02-28T23:59:59Z",
                "2026-02-28T23:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                BudgetTime::Day,
                "2024-02-29T00:00:00Z",
                "2024-02-29T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            // A Sunday, and the Monday after it.
            (
                BudgetTime::Week,
                "2026-11-22T23:59:59Z",
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                BudgetTime::Week,
                "2026-11-23T00:00:00Z",
                "2026-11-23T00:00:00Z",
                "2026-11-30T00:00:00Z",
            ),
            (
                BudgetTime::Month,
                "2026-12-31T12:00:00Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                BudgetTime::Month,
                "2028-02-10T12:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
        ] {
            let span = Span::around(time, second(at)).expect("in the calendar");
            assert_eq!(
                (span.begins_s, span.ends_s),
                (second(begins), second(ends)),
                "{time} {at}"
            );
        }
    }

    #[test]
    fn beyond_the_calendar_there_is_nothing() {
        assert_eq!(Span::around(BudgetTime::Month, i64::MAX), None);
    }
}
