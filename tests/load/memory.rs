//! Anonymous memory: idle, full, and whether it grows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::{Scan, Store};
use tokio::time::{Instant, sleep_until};

use crate::Scale;
use crate::driver::{Caller, post};
use crate::metrics::name;
use crate::open::open_loop;
use crate::review::review;
use crate::served::{CONNECTIONS, Served};
use crate::site::{ROUTES, Site};
use crate::table::{Row, mib};

/// As by default.
const ENTRIES: usize = 100_000;
/// Of one image by its tag at least: what the tag is here, what it means at the primary, and a scan.
const ENTRIES_PER_IMAGE: usize = 3;
/// Images of one Pod while the memory is filled: as many as the audit annotation names.
const IMAGES_PER_POD: usize = 20;
/// Pods a second of the soak.
const RATE: u32 = 300;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What is learned stays, so that the filling is not gone before it is complete.
const LONG: &str = "cache: {present: 2h, tag: 2h, scan: 2h, absent: 10s, entries: ENTRIES}
budget: {request: 20s, attempt: 5s, inFlight: 64}
";

/// The configuration of a Landfall that is filled.
pub fn filled(entries: usize) -> String {
    format!("{ROUTES}{}", LONG.replace("ENTRIES", &entries.to_string()))
}

/// The image of this number, of those that [`hold`] pushes.
pub fn image(number: usize) -> String {
    format!("harbor.fra.example.com/production/fill/app-{number:06}:1.0")
}

/// Makes the registry hold the first so many images: all the same content, which only the registry could tell.
pub fn hold(store: &mut Store, images: usize) {
    let content = Content::image("fill");
    for number in 0..images {
        store.push(&format!("production/fill/app-{number:06}"), "1.0", &content);
    }
    store.set_scan(&content.digest, Scan::clean());
}

/// Has every image judged once, through the door.
pub async fn fill(served: &Served, images: usize) -> Result<()> {
    let names: Vec<String> = (0..images).map(image).collect();
    let pods: Vec<&[String]> = names.chunks(IMAGES_PER_POD).collect();
    let call = async |caller: &mut Caller, which: usize| {
        let containers: Vec<&str> = pods[which].iter().map(|image| &**image).collect();
        let answer = caller.call(&post("/mutate", &review(which, &[], &containers)?.to_string())).await?;
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        let said = answer["response"]["auditAnnotations"]["images"].as_str().context("no images")?;
        let local = said.split("; ").filter(|image| image.ends_with(": Local at ams")).count();
        ensure!(local == containers.len(), "{local} of {}: {said}", containers.len());
        Ok(())
    };
    // Four at a time keep the registry busy; more would wait in its queue and miss their deadlines.
    for called in open_loop(&vec![Duration::ZERO; pods.len()], served.target.callers(4), call).await {
        called.answer?;
    }
    Ok(())
}

/// How many answers it remembers.
async fn entries(served: &Served) -> Result<f64> {
    let page = served.metrics().await?;
    page.metric(name::CACHE_ENTRIES, &[]).context("no gauge of entries")
}

/// All figures.
pub async fn rows(scale: Scale) -> Result<Vec<Row>> {
    let site = Site::start().await?;
    let images = ENTRIES / ENTRIES_PER_IMAGE / scale.thin;
    hold(&mut site.ams.store(), images);
    let bare = Served::bare(&site).await?;
    let (bare_idle, bare) = (bare.process.anonymous_kib()?, bare);
    let config = site.configure("memory", &filled(ENTRIES))?;
    let landfall = Served::landfall(&site, &config).await?;
    let idle = landfall.process.anonymous_kib()?;
    drop(bare);
    fill(&landfall, images).await?;
    let (full, held) = (landfall.process.anonymous_kib()?, entries(&landfall).await?);
    let mut rows = vec![
        Row {
            figure: "anonymous memory, idle".to_owned(),
            least: mib(bare_idle),
            ours: mib(idle),
            quotient: None,
            bound: "≤ 16 MiB".to_owned(),
        },
        Row::alone(format!("anonymous memory, {held} answers remembered"), mib(full), "≤ 64 MiB"),
    ];
    drop(landfall);
    rows.push(soak(&site, images, Duration::from_secs(scale.soak)).await?);
    Ok(rows)
}

/// Mixed load with the times of a real configuration: most Pods of few images, some of any, some of none that there is.
async fn soak(site: &Site, images: usize, time: Duration) -> Result<Row> {
    // A bound that is reached while the first fifth lasts: before, memory must grow, for there is more to remember.
    let entries = (16 * time.as_secs()).max(3_000);
    let config = site.configure("soak", &format!("{ROUTES}cache: {{entries: {entries}}}\n"))?;
    let landfall = Served::landfall(site, &config).await?;
    let pods = RATE * u32::try_from(time.as_secs())?;
    let due: Vec<Duration> = (0..pods).map(|pod| Duration::from_secs(1) * pod / RATE).collect();
    let call = async |caller: &mut Caller, which: usize| {
        let image = match which % 10 {
            0 => image(which.wrapping_mul(7_919) % images),
            1 => format!("harbor.fra.example.com/production/absent/app-{which}:1.0"),
            _ => image(which % 500.min(images)),
        };
        let answer = caller.call(&post("/mutate", &review(which, &[], &[&image])?.to_string())).await?;
        ensure!(answer.windows(14).any(|part| part == br#""allowed":true"#), "not admitted");
        Ok(())
    };
    let looks = async {
        let began = Instant::now();
        let mut seen = Vec::new();
        while began.elapsed() < time {
            sleep_until(Instant::now() + LOOK).await;
            seen.push(landfall.process.anonymous_kib()?);
            // The registry's log is not what is measured here.
            site.ams.clear_log();
        }
        anyhow::Ok(seen)
    };
    let callers = landfall.target.callers(4 * CONNECTIONS);
    let (called, seen) = tokio::join!(open_loop(&due, callers, call), looks);
    for called in called {
        called.answer?;
    }
    let seen = seen?;
    let fifth = |number: usize| {
        let mut part = seen[seen.len() * number / 5..seen.len() * (number + 1) / 5].to_vec();
        part.sort_unstable();
        (part[part.len() / 2], part[0], part[part.len() - 1])
    };
    let ((early, ..), (late, least, most)) = (fifth(1), fifth(4));
    let by = |kib: u64| kib as f64 / early as f64;
    Ok(Row {
        figure: format!(
            "… {} s of mixed load, {RATE} Pods/s, {entries} entries: second fifth, last fifth",
            time.as_secs()
        ),
        least: mib(early),
        ours: mib(late),
        quotient: Some(crate::table::Spread::given(by(least), by(late), by(most))),
        bound: "flat".to_owned(),
    })
}
