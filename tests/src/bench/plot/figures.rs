//! Which figures are drawn of which benchmark.

use anyhow::{Context, Result};
use serde_json::Value;

use super::bars::{Bar, Chart};

type Figure = fn(&Value) -> Result<Chart>;

/// Benchmarks and the charts of each.
pub(super) const ALL: &[(&str, &[(&str, Figure)])] = &[
    ("probe", &[("probe-rate", flood), ("probe-cpu", steady)]),
    ("idle", &[("idle", idle)]),
    ("accuracy", &[("accuracy", accuracy)]),
    ("forward", &[("forward", forward)]),
    ("detect", &[("detect", detect)]),
];

fn flood(report: &Value) -> Result<Chart> {
    let rows = rows(report, "rows")?.filter(|row| row["part"] == "flood");
    Ok(Chart {
        title: "Answered probes a second, one core".to_owned(),
        axis: "answered echo requests a second; longer is better",
        logarithmic: false,
        bars: bars(rows, "prober", "answered_per_second", 1.0)?,
    })
}

fn steady(report: &Value) -> Result<Chart> {
    let rows = rows(report, "rows")?.filter(|row| row["part"] != "flood");
    let mut bars = bars(rows, "prober", "cpu_ns_per_probe", 1e-3)?;
    bars.dedup_by(|b, a| a.label == b.label);
    let mut seen = Vec::new();
    bars.retain(|bar| {
        let is_new = !seen.contains(&bar.label);
        seen.push(bar.label.clone());
        is_new
    });
    Ok(Chart {
        title: "Processor time for a probe at 10,000 a second to 1,000 targets".to_owned(),
        axis: "microseconds, logarithmic; shorter is better",
        logarithmic: true,
        bars,
    })
}

fn idle(report: &Value) -> Result<Chart> {
    let of = |row: &Value| {
        let targets = row["targets"].as_u64().context("targets")?;
        let value = number(row, "cpu_us_per_probe")?;
        Ok(bar(format!("{targets} targets"), value, true))
    };
    let bars: Result<Vec<Bar>> = rows(report, "sizes")?.map(of).collect();
    Ok(Chart {
        title: "The daemon's processor time for a probe, 100 probes a second in all".to_owned(),
        axis: "microseconds",
        logarithmic: false,
        bars: bars?,
    })
}

fn accuracy(report: &Value) -> Result<Chart> {
    let of = |row: &Value| {
        let (prober, beside) = (word(row, "prober")?, word(row, "beside")?);
        let beside = match beside.as_str() {
            "nothing" => "idle",
            "hogs" => "busy cores",
            _ => "bulk flow",
        };
        let value = number(row, "p99_us")?;
        let is_own = prober.starts_with("pingu");
        let prober = prober.replace('_', " ");
        Ok(bar(format!("{prober}, {beside}"), value, is_own))
    };
    let bars: Result<Vec<Bar>> = rows(report, "rows")?.map(of).collect();
    Ok(Chart {
        title: "Error of the round-trip time against a capture, 99th percentile, 2 ms path"
            .to_owned(),
        axis: "microseconds, logarithmic; shorter is better",
        logarithmic: true,
        bars: bars?,
    })
}

fn forward(report: &Value) -> Result<Chart> {
    let of = |key: &str, label: &str, is_own| {
        let value = number(&report[key], "median_ns")?;
        Ok(bar(label.to_owned(), value, is_own))
    };
    let bars: Result<Vec<Bar>> = [
        ("added", "pingu, traffic counted", true),
        ("silent_added", "pingu, nothing counted", true),
        ("empty_added", "two empty programs", false),
    ]
    .into_iter()
    .map(|(key, label, is_own)| of(key, label, is_own))
    .collect();
    Ok(Chart {
        title: format!(
            "Added to a forwarded packet of {:.0} ns, both directions",
            number(report, "forwarded_ns")?
        ),
        axis: "nanoseconds; shorter is better",
        logarithmic: false,
        bars: bars?,
    })
}

fn detect(report: &Value) -> Result<Chart> {
    let of = |row: &Value| {
        let who = word(row, "who")?;
        let (name, is_own) = match who.as_str() {
            "pingu" => ("pingu", true),
            "suspecting" => ("pingu, suspecting", true),
            "bird" => ("BIRD's BFD", false),
            _ => ("FRR's BFD", false),
        };
        let beside = if row["beside"] == "hogs" {
            ", busy"
        } else {
            ""
        };
        let label = format!("{name}, {} ms x 3{beside}", row["interval_ms"]);
        let range = [number(row, "min_ms")?, number(row, "max_ms")?];
        Ok(Bar {
            range: Some(range),
            ..bar(label, number(row, "median_ms")?, is_own)
        })
    };
    let bars: Result<Vec<Bar>> = rows(report, "rows")?.map(of).collect();
    Ok(Chart {
        title: "From a silent cut to the kernel's new route".to_owned(),
        axis: "milliseconds, logarithmic: median, least and greatest; shorter is better",
        logarithmic: true,
        bars: bars?,
    })
}

fn rows<'a>(report: &'a Value, key: &str) -> Result<impl Iterator<Item = &'a Value>> {
    let rows = report[key].as_array();
    Ok(rows.with_context(|| format!("no array `{key}`"))?.iter())
}

fn bars<'a>(
    rows: impl Iterator<Item = &'a Value>,
    label: &str,
    value: &str,
    factor: f64,
) -> Result<Vec<Bar>> {
    rows.map(|row| {
        let label = word(row, label)?;
        let is_own = label.starts_with("pingu") || label.starts_with("its ");
        Ok(bar(label, number(row, value)? * factor, is_own))
    })
    .collect()
}

fn bar(label: String, value: f64, is_own: bool) -> Bar {
    Bar {
        label,
        value,
        range: None,
        is_own,
    }
}

fn word(row: &Value, key: &str) -> Result<String> {
    let word = row[key].as_str().with_context(|| format!("no `{key}`"))?;
    Ok(word.to_owned())
}

fn number(row: &Value, key: &str) -> Result<f64> {
    row[key].as_f64().with_context(|| format!("no `{key}`"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_prober_has_one_bar_although_it_serves_two_parts() {
        let row = |part, prober, cpu| json!({ "part": part, "prober": prober, "cpu_ns_per_probe": cpu, "answered_per_second": 5.0 });
        let report = json!({ "rows": [
            row("flood", "ping -f", 1.0), row("rate", "pingu, the daemon", 5000.0), row("rate", "oping", 9000.0),
            row("each", "pingu, the daemon", 5000.0), row("each", "dpinger, one each", 90_000.0),
        ] });
        let chart = steady(&report).unwrap();
        let labels: Vec<_> = chart.bars.iter().map(|bar| bar.label.as_str()).collect();
        assert_eq!(labels, ["pingu, the daemon", "oping", "dpinger, one each"]);
        assert_eq!(chart.bars[0].value, 5.0);
        assert!(chart.bars[0].is_own && !chart.bars[1].is_own);
        assert_eq!(flood(&report).unwrap().bars.len(), 1);
    }

    #[test]
    fn a_report_without_its_rows_says_so() {
        let error = detect(&json!({})).unwrap_err();
        assert!(error.to_string().contains("rows"));
    }
}
