//! What a cluster knew before the storm: the inventory of each Landfall, as its leader writes it after a sweep.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall::facade::config::{self, Files};
use landfall::facade::domain::case::{Case, Exemption, PodContext, Pull};
use landfall::facade::domain::policy::Labels;
use landfall::facade::evidence::{Answers, Asking, Observatory, Share, encode};
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};

use crate::api_server::{ApiServer, NAMESPACE};
use crate::plan::Image;

/// For one image, while all is well.
const PATIENCE: Duration = Duration::from_secs(20);
/// The room of the ConfigMaps.
const MOST: usize = 8 * 900 * 1024;

/// Judges each image as this configuration has it, while all is well, and writes what was learned for the release.
pub async fn keep(api: &ApiServer, release: &str, file: &Path, images: &[Image]) -> Result<()> {
    let now = jiff::Timestamp::now();
    let text = std::fs::read_to_string(file)?;
    let settings = config::parse(&text, "site.yaml", Files::Check, now);
    let settings = settings.map_err(|problems| anyhow::anyhow!("{problems}"))?.settings;
    let observatory = Observatory::new(&settings, &mut Registry::default());
    let context = PodContext {
        regime: settings.regime(&Labels::new(), now),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now,
    };
    let case = |image: &Image| settings.case_for(image.reference(), Pull::Registry, &context);
    let cases: Vec<Case> = images.iter().map(case).collect();
    let asking = || Asking {
        share: Share::Mutating,
        namespace: "shop",
        deadline: Instant::now() + PATIENCE,
        answers: Answers::Cached,
    };
    for case in &cases {
        observatory.judge(case, asking()).await;
    }
    // What tags mean at the primary is learned behind.
    let late = Instant::now() + PATIENCE;
    let inventory = loop {
        let inventory = observatory.export(cases.iter(), now, jiff::Timestamp::now());
        let meanings =
            inventory.repositories.iter().filter(|held| inventory.registries[held.at as usize].name == "fra");
        if meanings.count() == images.iter().filter(|image| image.is_by_tag()).count() {
            break inventory;
        }
        ensure!(Instant::now() < late, "not all tags are proved");
        sleep(Duration::from_millis(20)).await;
    };
    let (bytes, written) = encode(inventory, MOST);
    ensure!(written.left_out == 0, "it does not fit");
    api.render(release);
    let parts = api.client()?.inventory(NAMESPACE, release);
    parts.write("before the storm", &bytes).await.context("the inventory")?;
    Ok(())
}
