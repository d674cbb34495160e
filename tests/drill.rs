//! The forecast of `landfall drill`, against the truth: in worlds that grow from a seed, with gaps of every kind, registries are
//! taken away, every Pod is created again through the doors, and an independent puller (skopeo) says what starts.
#![cfg(feature = "demo")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use landfall::facade::config::{self, Files};
use landfall::facade::demo::story::{Admission, Stage, script};
use landfall::facade::domain::image::Reference;
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::policy::Labels;
use landfall::facade::domain::settings::Settings;
use landfall::facade::evidence::Observatory;
use landfall::facade::report::drill::{
    Bandwidth, Drill, Forecast, Keys, Obstacle, Prospect, Subject, without,
};
use prometheus_client::registry::Registry as Page;
use serde_json::{Value, json};

#[path = "drill/cluster.rs"]
mod cluster;
#[path = "drill/command.rs"]
mod command;
#[path = "support/site.rs"]
#[expect(dead_code, reason = "no reviews come here")]
mod site;
#[path = "drill/truth.rs"]
mod truth;
#[path = "support/wait.rs"]
#[expect(dead_code, reason = "the suites use more of it")]
mod wait;
#[path = "drill/world.rs"]
mod world;

use world::Ground;

/// How many worlds the machine tier tries.
const WORLDS: u64 = 24;

fn settings(ground: &Ground) -> Settings {
    let loaded = config::parse(&ground.configuration, "site.yaml", Files::Check, Timestamp::now());
    loaded.unwrap_or_else(|problems| panic!("{problems}\n{}", ground.configuration)).settings
}

/// What the drill says, while everything is still there.
async fn forecast(ground: &Ground, settings: &Settings) -> Forecast {
    let lost: BTreeSet<RegistryName> = ground.lost.iter().map(|name| RegistryName::new(*name)).collect();
    let settings = without(settings, &lost).unwrap();
    let observatory = {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || Observatory::new(&settings, &mut Page::default())).await.unwrap()
    };
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    for ((namespace, name), secret) in &ground.secrets {
        objects.insert(format!("/api/v1/namespaces/{namespace}/secrets/{name}"), secret.clone());
    }
    for (namespace, secrets) in &ground.accounts {
        let named: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                             "metadata": {"name": "default", "namespace": namespace}, "imagePullSecrets": named});
        objects.insert(format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"), account);
    }
    let keys = Keys::of(cluster::client(objects).await);
    let labels: BTreeMap<String, Labels> = ground
        .namespaces
        .iter()
        .map(|(name, labels)| (name.clone(), labels.clone().into_iter().collect()))
        .collect();
    let subjects: Vec<Subject> = ground
        .workloads
        .iter()
        .map(|one| Subject {
            kind: one.kind.to_owned(),
            namespace: one.namespace.clone(),
            name: one.name.clone(),
            pods: vec![one.template.to_string()],
        })
        .collect();
    let drill = Drill {
        settings: &settings,
        observatory: &observatory,
        lost: &lost,
        keys: &keys,
        labels: &labels,
        own_namespace: Some("landfall"),
        gaps: &[],
        now: Timestamp::now(),
    };
    let forecast = drill.forecast(&subjects, Bandwidth::Unknown, |_, _| {}).await;
    observatory.close().await;
    forecast
}

/// How the forecasts and the truth agree.
#[derive(Default)]
struct Score {
    both: usize,
    only_forecast: usize,
    only_truth: usize,
    neither: usize,
    obstacles: BTreeMap<Obstacle, usize>,
}

impl Score {
    #[expect(clippy::cast_precision_loss, reason = "some thousand workloads")]
    fn told(&self) -> String {
        let Self { both, only_forecast, only_truth, neither, obstacles } = self;
        let part = |of: usize| if of == 0 { 1.0 } else { *both as f64 / of as f64 };
        let obstacles: Vec<String> =
            obstacles.iter().map(|(what, number)| format!("{what} {number}")).collect();
        format!(
            "{} workloads, {both} start: precision {:.3}, recall {:.3}; {neither} do not: {}",
            both + only_forecast + only_truth + neither,
            part(both + only_forecast),
            part(both + only_truth),
            obstacles.join(", ")
        )
    }
}

/// One world: forecast, loss, truth. Returns what differs.
async fn drilled(seed: u64, images: usize, workloads: usize, score: &mut Score) -> Vec<String> {
    let ground = Ground::grow(seed, images, workloads).await;
    let settings = settings(&ground);
    let forecast = forecast(&ground, &settings).await;
    ground.lose().await;
    let truth = truth::starts(&ground, &settings).await;
    assert_eq!(forecast.workloads.len(), truth.len());
    let mut differences = Vec::new();
    for one in &forecast.workloads {
        let (said, is) = (one.prospect == Prospect::Starts, &truth[&one.name]);
        for obstacle in one.images.iter().filter_map(|image| image.obstacle) {
            *score.obstacles.entry(obstacle).or_default() += 1;
        }
        match (said, is.is_ok()) {
            (true, true) => score.both += 1,
            (true, false) => score.only_forecast += 1,
            (false, true) => score.only_truth += 1,
            (false, false) => score.neither += 1,
        }
        if said != is.is_ok() {
            differences
                .push(format!("seed {seed} {}/{}: {:#?}\nbut {is:?}", one.namespace, one.name, one.images));
        }
    }
    println!("seed {seed}, without {}: {}", ground.lost.join(", "), score.told());
    differences
}

fn has_skopeo() -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("skopeo").is_file()));
    if !found {
        println!("skipped: drill against the truth: no skopeo here");
    }
    found
}

/// The demo says which of its stories will not start before Frankfurt goes dark.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_knows_before_what_will_not_start() {
    let stage = Stage::build().await.unwrap();
    let mut drilled = 0;
    for act in script() {
        let forecast = stage.drill(&act).await.unwrap();
        let told = stage.play(act).await.unwrap();
        let Some(forecast) = forecast.filter(|forecast| forecast.lost == ["fra"]) else { continue };
        drilled += 1;
        assert!(forecast.start > 0 && forecast.fail > 0, "{forecast:#?}");
        for one in &forecast.workloads {
            let story = told.stories.iter().find(|story| story.story == one.name).unwrap();
            let images = story.actual.images.iter().flatten();
            let starts = story.actual.admission == Admission::Allowed
                && images.map(|image| image.is.as_str()).all(|image| is_served(&stage, image));
            assert_eq!(one.prospect == Prospect::Starts, starts, "{one:#?} {:#?}", story.actual);
        }
    }
    assert_eq!(drilled, 1);
    stage.close().await;
}

/// Whether a registry that is not lost has the manifest.
fn is_served(stage: &Stage, image: &str) -> bool {
    let image = Reference::parse(image).unwrap();
    let at = match image.host {
        "harbor.ams.example.com" => &stage.demo.ams,
        "registry.edge:5000" => &stage.demo.edge,
        _ => return false,
    };
    let reference = image.digest.map(|digest| digest.to_string()).or(image.tag.map(str::to_owned)).unwrap();
    at.store().manifest(&image.path, &reference).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forecast_of_one_world_is_the_truth() {
    if !has_skopeo() {
        return;
    }
    let mut score = Score::default();
    let differences = drilled(1, 40, 80, &mut score).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(score.both > 5 && score.neither > 5, "{}", score.told());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `tests/run machine drill`"]
async fn the_forecasts_of_many_worlds_are_the_truth() {
    if !has_skopeo() {
        return;
    }
    let (mut all, mut differences) = (Score::default(), Vec::new());
    // One alone, to find out about it.
    let one: Option<u64> = std::env::var("LANDFALL_DRILL_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in one.map_or(1..=WORLDS, |one| one..=one) {
        let more = drilled(seed, 120, 240, &mut all).await;
        more.iter().for_each(|difference| println!("{difference}"));
        differences.extend(more);
    }
    println!("{WORLDS} worlds: {}", all.told());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
