//! The storm's images and Pods: always the same ones, so that two runs can be compared.

use std::time::Duration;

use anyhow::{Context, Result};
use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::{Scan, Store};
use serde_json::Value;

use crate::review::review;

/// Distinct images.
pub const IMAGES: usize = 500;
/// Pods of one workload.
const REPLICAS: usize = 10;
/// As many as images: each workload has one of its own, and some borrow others' beside it.
const WORKLOADS: usize = IMAGES;
/// Pods in all.
pub const PODS: usize = WORKLOADS * REPLICAS;
/// They come evenly over this time.
pub const OVER: Duration = Duration::from_secs(60);
const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// How a Pod names an image, and what that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One platform, by digest, with or without a tag beside it.
    Digest,
    /// One platform, by tag.
    Tag,
    /// An index, by digest.
    Index,
    /// An index with an attestation, by tag.
    IndexByTag,
}

/// One image.
pub struct Image {
    /// `production/app-017`: no two images share one, so that a request's path tells which it is about.
    pub repository: String,
    /// What it is.
    pub kind: Kind,
    content: Content,
    /// As the Pods name it.
    reference: String,
}

impl Image {
    fn new(number: usize) -> Self {
        let repository = format!("production/app-{number:03}");
        let (kind, content) = match number % 10 {
            0..=4 => (Kind::Digest, Content::image(&repository)),
            5..=7 => (Kind::Tag, Content::docker_image(&repository)),
            8 => (Kind::Index, Content::index(&repository, Flavour::Docker, &PLATFORMS)),
            _ => (Kind::IndexByTag, Content::index_with_attestation(&repository, &PLATFORMS)),
        };
        let reference = match (kind, number % 10) {
            (Kind::Tag | Kind::IndexByTag, _) => ":1.0".to_owned(),
            (Kind::Digest | Kind::Index, 4) => format!(":1.0@{}", content.digest),
            (Kind::Digest | Kind::Index, _) => format!("@{}", content.digest),
        };
        let reference = format!("harbor.fra.example.com/{repository}{reference}");
        Self { repository, kind, content, reference }
    }

    /// As the Pods name it.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Do the Pods name it by its tag alone?
    pub fn is_by_tag(&self) -> bool {
        matches!(self.kind, Kind::Tag | Kind::IndexByTag)
    }

    /// The most that one Landfall may ask about it, in so much time: presence and scan; of an index, presence and
    /// list, and presence and scan of each of the two children that are needed. A tag is asked again when it has
    /// been remembered for half of `cache.tag`, at the earliest.
    pub fn most_requests(&self, time: Duration) -> usize {
        let again = (time.as_secs_f64() / 15.0).ceil() as usize;
        match self.kind {
            Kind::Digest => 2,
            Kind::Tag => 2 + again,
            Kind::Index => 2 + 2 * PLATFORMS.len(),
            Kind::IndexByTag => 2 + 2 * PLATFORMS.len() + again,
        }
    }
}

/// All images.
pub fn images() -> Vec<Image> {
    (0..IMAGES).map(Image::new).collect()
}

/// Makes the registry hold them all, scanned clean.
pub fn fill(store: &mut Store, images: &[Image]) {
    for image in images {
        let digest = store.push(&image.repository, "1.0", &image.content);
        store.set_scan(&digest, Scan::clean());
    }
}

/// In which order the Pods come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All workloads at once, as when every controller finds its Pods gone: most images are asked for within
    /// seconds, which is more than the registry can answer.
    AllAtOnce,
    /// One workload after the other: the registry can just keep up.
    ByWorkload,
}

/// One Pod.
pub struct Pod {
    review: Value,
    /// How many images it has.
    pub images: usize,
}

impl Pod {
    /// The admission review, as it is sent.
    pub fn review(&self) -> String {
        self.review.to_string()
    }

    /// The Pod inside.
    pub fn object(&self) -> &Value {
        &self.review["request"]["object"]
    }
}

/// All Pods, in their order.
pub fn pods(images: &[Image], order: Order) -> Result<Vec<Pod>> {
    let mut workloads: Vec<usize> = (0..PODS).map(|pod| pod / REPLICAS).collect();
    if order == Order::AllAtOnce {
        shuffle(&mut workloads);
    }
    let name = |number: usize| {
        let image = images.get(number % IMAGES).context("an image")?;
        anyhow::Ok(&*image.reference)
    };
    let pod = |(number, workload): (usize, usize)| {
        let init = if workload % 10 == 3 { vec![name(workload + 250)?] } else { Vec::new() };
        let mut containers = vec![name(workload)?];
        if workload % 5 == 1 {
            containers.push(name(workload + 3)?);
        }
        Ok(Pod { images: init.len() + containers.len(), review: review(number, &init, &containers)? })
    };
    workloads.into_iter().enumerate().map(pod).collect()
}

/// When each Pod comes.
pub fn due(pod: usize) -> Duration {
    OVER * pod as u32 / PODS as u32
}

/// Fisher and Yates' shuffle, with a fixed linear congruence for dice.
fn shuffle(items: &mut [usize]) {
    let mut dice = 20_261_121_u64;
    for last in (1..items.len()).rev() {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, (dice >> 33) as usize % (last + 1));
    }
}
