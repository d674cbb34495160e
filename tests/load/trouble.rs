//! Trouble: the figures of what `tests/storm.rs` proves.

use std::time::Duration;

use anyhow::Result;

use crate::open::quantile;
use crate::storm::{BUDGET, IN_FLIGHT, LANDFALLS, Seen, Storm};
use crate::table::{Row, micros};
use crate::{blackhole, cold, plan};

/// One unknown image, many Pods.
pub async fn cold() -> Result<Vec<Row>> {
    let seen = cold::run().await?;
    let asked: usize = seen.asked.values().sum();
    Ok(vec![
        Row::alone(
            format!("{} Pods of one unknown index at once: local copies", cold::PODS),
            seen.local.to_string(),
            "all",
        ),
        Row::alone(
            "… requests to the registry, which answers after 100 ms",
            asked.to_string(),
            format!("{}: one for each aspect", cold::ASPECTS),
        ),
        Row::alone("… slowest", millis(seen.slowest), within_budget()),
    ])
}

/// A silent replica.
pub async fn blackhole() -> Result<Vec<Row>> {
    let seen = blackhole::run().await?;
    let pair = |share| (micros(quantile(&seen.warm, share)), micros(quantile(&seen.open, share)));
    Ok(vec![
        Row::alone("silent replica: slowest", millis(quantile(&seen.silent, 1.0)), within_budget()),
        Row::compared("… p50 warm before, p50 once the breaker is open", "µs", &[pair(0.5)], "about 1"),
        Row::compared("… p99 warm before, p99 once the breaker is open", "µs", &[pair(0.99)], "about 1"),
    ])
}

/// The storms: the two that ask much at the same time, then the one with what is remembered.
pub async fn storm() -> Result<Vec<Row>> {
    let (slow, down) = tokio::join!(Storm::Slow.run(), Storm::Down(Duration::from_secs(30)).run());
    let mut rows = told("storm", &slow?);
    rows.extend(told("storm, all images remembered", &Storm::Remembered.run().await?));
    rows.extend(told("storm, with an inventory", &Storm::Inventory.run().await?));
    rows.extend(told("outage of 30 s, onUnknown: Block", &down?));
    Ok(rows)
}

fn told(name: &str, seen: &Seen) -> Vec<Row> {
    let results: Vec<String> =
        seen.results().iter().map(|(result, images)| format!("{result} {images}")).collect();
    let denied = seen.last_denied().map_or_else(|| "none".to_owned(), millis);
    let latencies = seen.latencies();
    let asked: usize = seen.asked.values().sum();
    let most = seen.asked.values().max().copied().unwrap_or_default();
    vec![
        Row::alone(format!("{name}: {} Pods, their images", plan::PODS), results.join(", "), ""),
        Row::alone("… last denial", denied, ""),
        Row::alone(
            "… p50, p99, slowest",
            [0.5, 0.99, 1.0].map(|share| millis(quantile(&latencies, share))).join(", "),
            within_budget(),
        ),
        Row::alone(
            "… requests at once",
            seen.peak.to_string(),
            format!("≤ {}, and a probe each", IN_FLIGHT * LANDFALLS),
        ),
        Row::alone(
            format!("… requests for {} images and three Landfalls; most for one", plan::IMAGES),
            format!("{asked}; {most}"),
            "plain 2, index 6, and tags again",
        ),
        Row::alone("… over that bound", seen.too_often().len().to_string(), "0"),
        Row::alone("… CPU of three Landfalls", format!("{:.1} s", seen.cpu.as_secs_f64()), ""),
    ]
}

fn within_budget() -> String {
    format!("≤ {}", millis(BUDGET))
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
