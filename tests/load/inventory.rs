//! The inventory of a cluster: how large it is, and how long it takes to write and to read.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::content::sha256;
use landfall::facade::domain::case::{Case, Exemption, PodContext, Pull};
use landfall::facade::domain::policy::Labels;
use landfall::facade::domain::settings::Settings;
use landfall::facade::evidence::{Answers, Asking, Inventory, Observatory, Reading, Share, decode, encode};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::Scale;
use crate::memory::{hold, image};
use crate::site::{ROUTES, Site};
use crate::table::Row;

/// The room of the ConfigMaps.
const MOST: usize = 8 * 900 * 1024;

/// For a storm's images, and for many.
pub async fn rows(scale: Scale) -> Result<Vec<Row>> {
    let site = Site::start().await?;
    hold(&mut site.ams.store(), 1);
    let roomy = "cache: {entries: 300000}\n";
    let file = site.configure("inventory", &format!("{ROUTES}{roomy}"))?;
    let text = std::fs::read_to_string(file)?;
    let settings = config::parse(&text, "site.yaml", Files::Check, jiff::Timestamp::now());
    let settings = settings.map_err(|problems| anyhow!("{problems}"))?.settings;
    // The fingerprint of Amsterdam.
    let one = Observatory::new(&settings, &mut Registry::default());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    let asking = Asking { share: Share::Mutating, namespace: "shop", deadline, answers: Answers::Cached };
    let case = cases(&settings, [image(0)].into_iter());
    one.judge(case.first().context("a case")?, asking).await;
    let learned = one.export(case.iter(), jiff::Timestamp::now(), jiff::Timestamp::now());
    ensure!(learned.answers() == 3, "{learned:?}");
    let mut rows = Vec::new();
    for images in [6_500, 50_000].map(|images| images / scale.thin) {
        rows.extend(measured(&settings, &learned, images)?);
    }
    Ok(rows)
}

fn measured(settings: &Settings, learned: &Inventory, images: usize) -> Result<Vec<Row>> {
    let inventory = many(learned, images)?;
    let cases = cases(settings, (0..images).map(image));
    let (packed, _) = encode(inventory, MOST);
    let observatory = Observatory::new(settings, &mut Registry::default());

    let began = Instant::now();
    let read = decode(&packed)?;
    let imported = observatory.import(&read, Reading::Start, jiff::Timestamp::now())?;
    let reading = began.elapsed();
    ensure!(imported.answers == 3 * images, "{imported:?}");

    let now = jiff::Timestamp::now();
    let began = Instant::now();
    let exported = observatory.export(cases.iter(), now, now);
    let exporting = began.elapsed();
    ensure!(exported.answers() == 3 * images, "{} answers", exported.answers());
    let began = Instant::now();
    let (bytes, written) = encode(exported, MOST);
    let packing = began.elapsed();
    ensure!(written.left_out == 0, "{} left out", written.left_out);
    let millis = |time: std::time::Duration| format!("{} ms", time.as_millis());
    Ok(vec![
        Row::alone(
            format!("inventory of {images} images, 3 answers each"),
            format!("{} KiB", bytes.len() >> 10),
            "7200",
        ),
        Row::alone("… read: unpacked, and taken into the cache", millis(reading), "before ready: 2 s"),
        Row::alone("… exported from the cache", millis(exporting), ""),
        Row::alone("… packed", millis(packing), ""),
    ])
}

fn cases(settings: &Settings, images: impl Iterator<Item = String>) -> Vec<Case> {
    let now = jiff::Timestamp::now();
    let context = PodContext {
        regime: settings.regime(&Labels::new(), now),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now,
    };
    images.map(|image| settings.case_for(&image, Pull::Registry, &context)).collect()
}

/// What was learned of the first image, of so many, each with a digest of its own.
fn many(learned: &Inventory, images: usize) -> Result<Inventory> {
    let mut document = serde_json::to_value(learned)?;
    let answers = document["repositories"][0]["answers"].clone();
    let digests = (0..images).map(|n| json!(sha256(n.to_string().as_bytes()).to_string()));
    document["digests"] = digests.collect::<Vec<_>>().into();
    let held = |n: usize| {
        let mut answers = answers.clone();
        for answer in answers.as_array_mut().into_iter().flatten() {
            let said = answer[1].as_object_mut().and_then(|said| said.values_mut().next());
            if let Some(digest) =
                said.and_then(|said| said.as_array_mut()?.iter_mut().find(|part| part.is_number()))
            {
                *digest = json!(n);
            }
        }
        json!({"at": 0, "repository": format!("production/fill/app-{n:06}"), "answers": answers})
    };
    document["repositories"] = (0..images).map(held).collect::<Vec<Value>>().into();
    Ok(serde_json::from_value(document)?)
}
