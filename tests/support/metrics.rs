//! A metrics page, read once into families and samples.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::registry::Registry;

/// The metrics that tests look at. A metric that is renamed is renamed here.
pub mod name {
    pub const ADMISSIONS: &str = "landfall_admissions_total";
    pub const ADMISSION_PANICS: &str = "landfall_admission_panics_total";
    pub const BACKGROUND_LOOKUPS: &str = "landfall_background_lookups_total";
    pub const BACKOFF: &str = "landfall_registry_backoff";
    pub const LIMITED_PROJECTS: &str = "landfall_registry_limited_projects";
    pub const BLOBS: &str = "landfall_blobs_total";
    pub const BREAKER: &str = "landfall_registry_breaker";
    pub const CACHE_ENTRIES: &str = "landfall_cache_entries";
    pub const COALESCED: &str = "landfall_lookups_coalesced_total";
    pub const CONFIG_ERRORS: &str = "landfall_config_errors";
    pub const CONFIG_GENERATION: &str = "landfall_config_generation";
    pub const CONNECTIONS_REFUSED: &str = "landfall_connections_refused_total";
    pub const FINDINGS: &str = "landfall_findings_total";
    pub const HEALTH: &str = "landfall_registry_health";
    pub const IMAGES: &str = "landfall_images_total";
    pub const INVALIDATIONS: &str = "landfall_cache_invalidations_total";
    pub const LOOKUP_COUNT: &str = "landfall_lookup_duration_seconds_count";
    pub const LOOKUP_SECONDS: &str = "landfall_lookup_duration_seconds_sum";
    pub const LOOKUPS: &str = "landfall_lookups_total";
    pub const OBSERVED_VERDICTS: &str = "landfall_observed_policy_verdicts_total";
    pub const PROBE_DURATION: &str = "landfall_registry_probe_duration_seconds";
    pub const QUEUE_WAITS: &str = "landfall_lookup_queue_wait_seconds_count";
    pub const REGISTRY_REQUESTS: &str = "landfall_registry_requests_total";
    pub const REQUESTS_REFUSED: &str = "landfall_http_requests_refused_total";
    pub const TOO_MANY_IMAGES: &str = "landfall_admission_too_many_images_total";
    pub const VERDICTS: &str = "landfall_verdicts_total";
}

/// Names and values, in no order that means anything.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a page says of one family.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub help: String,
    /// The names of its labels, but for a histogram's `le`.
    pub labels: BTreeSet<String>,
    /// Label name → the values seen.
    pub values: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A page in the OpenMetrics text format.
#[derive(Debug, Default)]
pub struct Page {
    pub families: BTreeMap<String, Family>,
    samples: Vec<Sample>,
}

impl Page {
    /// What a registry would be scraped as now.
    pub fn of(registry: &Registry) -> Self {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        Self::read(&text)
    }

    pub fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            match line.strip_prefix("# ").map(|line| line.splitn(3, ' ').collect::<Vec<_>>()) {
                Some(words) => {
                    let [what, family, rest] = words.as_slice() else { continue };
                    let family = page.families.entry((*family).to_owned()).or_default();
                    match *what {
                        "HELP" => family.help = (*rest).to_owned(),
                        "TYPE" => family.kind = (*rest).to_owned(),
                        "UNIT" => family.unit = Some((*rest).to_owned()),
                        other => panic!("unknown line `{other}`: {line}"),
                    }
                }
                None => page.sample(line),
            }
        }
        page
    }

    fn sample(&mut self, line: &str) {
        let (before, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match before.split_once('{') {
            Some((name, labels)) => (name, pairs(labels.strip_suffix('}').unwrap())),
            None => (before, BTreeMap::new()),
        };
        let family = self.families.iter_mut().find(|(family, described)| {
            let ends: &[&str] = match described.kind.as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => &[""],
            };
            ends.iter().any(|end| name.strip_suffix(end) == Some(family.as_str()))
        });
        let (_, family) = family.unwrap_or_else(|| panic!("a sample of no family: {line}"));
        for (label, value) in labels.iter().filter(|(label, _)| *label != "le") {
            family.labels.insert(label.clone());
            family.values.entry(label.clone()).or_default().insert(value.clone());
        }
        self.samples.push(Sample { name: name.to_owned(), labels, value: value.parse().unwrap() });
    }

    /// The value of the sample with exactly these labels; `None`: there is none.
    pub fn metric(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        let wanted: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let same = |sample: &&Sample| {
            sample.name == name
                && sample.labels.iter().map(|(name, value)| (&**name, &**value)).eq(wanted.clone())
        };
        self.samples.iter().find(same).map(|sample| sample.value)
    }

    /// The sum of all samples that have at least these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: Labels<'_>) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|is| is == value))
        };
        self.samples.iter().filter(has).map(|sample| sample.value).sum()
    }
}

/// `a="b",c="d"`. No value of ours holds a quote or a comma; one that did would fail here.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned())
    };
    text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect()
}
