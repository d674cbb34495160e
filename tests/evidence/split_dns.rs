//! One name that every site's DNS answers with its own Harbor, and one file for all sites.

use landfall::facade::demo::world::entry;
use landfall::facade::demo::world::seed::{self, Demo, Named};
use landfall::facade::domain::outcome::Outcome;
use landfall::facade::domain::settings::Settings;

use super::site::{Site, parsed, shown};

/// The same file for each site, but for `site`. The edge stands on a site of its own, without a Harbor.
fn settings(demo: &Demo, site: &str) -> Settings {
    let shared = "aliases: [harbor.example.com]";
    let fra = entry(&demo.fra.registry("fra", "harbor.fra.example.com"), shared);
    let ams = entry(&demo.ams.registry("ams", "harbor.ams.example.com"), shared);
    let edge = entry(&demo.edge.registry("dub", "registry.edge:5000"), "");
    let text = format!(
        r#"
site: {site}
near: {{dub: [ams, fra]}}
registries:
  fra: {fra}
  ams: {ams}
  edge: {edge}
routes:
  - name: production
    primary: {{registry: fra, repositories: "production/**"}}
    replicas:
      - {{registry: ams, namespace: production, flatten: 1}}
      - {{registry: edge, namespace: ""}}
"#
    );
    parsed(&text)
}

#[tokio::test]
async fn the_shared_name_means_the_registry_of_our_site_or_the_nearest() {
    for (site, image, verdict, written) in [
        ("ams", seed::PRESENT, "Local(ams) []", "harbor.ams.example.com"),
        ("fra", seed::PRESENT, "Local(fra) []", "harbor.fra.example.com"),
        // A Fallback writes the other registry's own host, for the shared name would lead back here.
        ("ams", seed::MISSING, "Fallback(fra) [Missing]", "harbor.fra.example.com"),
        ("fra", seed::MISSING, "Local(fra) []", "harbor.fra.example.com"),
        // No Harbor stands at the edge: the name means the nearest, and the copy here is used.
        ("dub", seed::PRESENT, "Local(edge) []", "registry.edge:5000"),
        ("dub", seed::UNSCANNED, "Fallback(ams) [Missing]", "harbor.ams.example.com"),
    ] {
        let demo = seed::demo().await.unwrap();
        let settings = settings(&demo, site);
        let at = Site::over(demo, settings);
        let Named { repository, tag } = image;
        let case = at.case_for(&format!("harbor.example.com/{repository}:{tag}"));
        let judged = at.judge(&case).await.verdict;
        assert_eq!(shown(&case, &judged), verdict, "{site}: {image:?}");
        let outcome = Outcome::of(&case, &judged);
        let host = outcome.image.as_deref().and_then(|image| image.split('/').next());
        assert_eq!(host, Some(written), "{site}: {image:?}, {outcome:?}");
    }
}
