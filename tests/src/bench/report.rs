//! Small sums for the benchmarks' tables.

/// The middle value; the mean of both middle ones where their number is even; not a number where there is none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// The values that a quarter of all are at or below, and at or above; not numbers where there are none.
pub fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let quarter = values.len() / 4;
    match values.len() {
        0 => [f64::NAN; 2],
        length => [values[quarter], values[length - 1 - quarter]],
    }
}

/// The value that a fraction of all are at or below, by nearest rank; not a number where there are none.
pub fn quantile(values: impl Iterator<Item = f64>, fraction: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (fraction * values.len() as f64).ceil() as usize;
    let value = values.get(rank.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median([].into_iter()).is_nan());
    }

    #[test]
    fn quartiles_leave_a_quarter_on_either_side() {
        let values = (1..=9).rev().map(f64::from);
        assert_eq!(quartiles(values), [3.0, 7.0]);
        assert_eq!(quartiles([5.0].into_iter()), [5.0, 5.0]);
        assert!(quartiles([].into_iter())[0].is_nan());
    }

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let values = || (1..=100).rev().map(f64::from);
        let of = |fraction| quantile(values(), fraction);
        assert_eq!(
            [of(0.0), of(0.5), of(0.99), of(1.0)],
            [1.0, 50.0, 99.0, 100.0]
        );
        assert_eq!(quantile([7.0].into_iter(), 0.99), 7.0);
        assert!(quantile([].into_iter(), 0.99).is_nan());
    }
}
