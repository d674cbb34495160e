//! The demo's world, configured as a site would configure it, and an Observatory that looks at it.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::seed::{self, Demo, Named};
use landfall::facade::demo::world::{Embedded, PathClass, entry};
use landfall::facade::domain::case::{Case, Subject};
use landfall::facade::domain::evidence::{Evidence, Observation, Query};
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::domain::settings::Settings;
use landfall::facade::domain::verdict::{Ruling, Verdict};
use landfall::facade::evidence::{Answers, Asking, Judgement, Observatory, Share};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::support::case_for;
use super::support::metrics::{Labels, Page};
use super::support::wait::HELD;

/// A site: its world, its settings, its Observatory.
pub struct Site {
    pub demo: Demo,
    pub settings: Settings,
    pub observatory: Observatory,
    pub page: Registry,
}

/// What a test configures otherwise.
#[derive(Clone, Copy)]
pub struct Given {
    /// Added to the entry of Amsterdam.
    pub ams: &'static str,
    /// Added to the routes.
    pub route: &'static str,
    /// The replica at the edge, beside that in Amsterdam.
    pub edge: bool,
    /// `defaults`
    pub defaults: &'static str,
    /// `budget`
    pub budget: &'static str,
}

impl Default for Given {
    fn default() -> Self {
        let defaults = "{scan: {required: Auto, maxSeverity: High}}";
        Self {
            ams: "",
            route: "",
            edge: false,
            defaults,
            budget: "{request: 10s, attempt: 5s, inFlight: 16}",
        }
    }
}

/// The settings of the site of Amsterdam.
pub fn settings(demo: &Demo, given: Given) -> Settings {
    let Given { ams, route, edge, defaults, budget } = given;
    let fra = entry(&demo.fra.registry("fra", "harbor.fra.example.com"), "");
    let ams = entry(&demo.ams.registry("ams", "harbor.ams.example.com"), ams);
    let at_edge = if edge { "\n      - {registry: edge, namespace: \"\"}" } else { "" };
    let edge = entry(&demo.edge.registry("ams", "registry.edge:5000"), "");
    let text = format!(
        r#"
site: ams
registries:
  fra: {fra}
  ams: {ams}
  edge: {edge}
routes:
  - name: production
    primary: {{registry: fra, repositories: "production/**"}}
    replicas:
      - {{registry: ams, namespace: production, flatten: 1}}{at_edge}
{route}
  - name: regulated
    primary: {{registry: fra, repositories: "regulated/**"}}
    replicas: [{{registry: ams, namespace: regulated, flatten: 1}}]
  - name: cache
    primary: {{registry: fra, repositories: "cache/**"}}
    replicas: [{{registry: ams, namespace: cache, flatten: 1}}]
defaults: {defaults}
cache: {{present: 10m, remember: 24h, tag: 30s, absent: 10s, scan: 5m, entries: 1000}}
budget: {budget}
"#
    );
    parsed(&text)
}

/// The settings of this file.
pub fn parsed(text: &str) -> Settings {
    config::parse(text, "test.yaml", Files::Check, jiff::Timestamp::now())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .settings
}

impl Site {
    pub async fn new(given: Given) -> Self {
        let demo = seed::demo().await.unwrap();
        let settings = settings(&demo, given);
        Self::over(demo, settings)
    }

    /// A site where no attempt ends by itself: whoever waits for a registry that does not answer hangs.
    pub async fn patient(given: Given) -> Self {
        let demo = seed::demo().await.unwrap();
        let mut settings = settings(&demo, given);
        (settings.budget.request, settings.budget.attempt) = (HELD, HELD);
        Self::over(demo, settings)
    }

    /// A site with these settings.
    pub fn over(demo: Demo, settings: Settings) -> Self {
        let mut page = Registry::default();
        let observatory = Observatory::new(&settings, &mut page);
        Self { demo, settings, observatory, page }
    }

    /// The Case of an image as Frankfurt names it.
    pub fn case(&self, named: Named) -> Case {
        self.case_for(&format!("harbor.fra.example.com/{}:{}", named.repository, named.tag))
    }

    /// The same image by its digest in Frankfurt.
    pub fn pinned(&self, named: Named) -> Case {
        let digest = self.demo.fra.store().digest(named.repository, named.tag).unwrap();
        self.case_for(&format!("harbor.fra.example.com/{}@{digest}", named.repository))
    }

    pub fn case_for(&self, image: &str) -> Case {
        case_for(&self.settings, image)
    }

    /// Judges, and waits as long as the test may run: only an attempt can end before.
    pub async fn judge(&self, case: &Case) -> Judgement {
        self.observatory.judge(case, soon(HELD)).await
    }

    /// What [`shown`] says of the verdict.
    pub async fn judged(&self, case: &Case) -> String {
        shown(case, &self.judge(case).await.verdict)
    }

    /// The page of metrics, now.
    pub fn metrics(&self) -> Page {
        Page::of(&self.page)
    }

    /// One sample of it.
    pub fn metric(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        self.metrics().metric(name, labels)
    }
}

/// A Pod of some namespace asks, for so long.
pub fn soon(time: Duration) -> Asking<'static> {
    Asking {
        share: Share::Mutating,
        namespace: "shop",
        deadline: Instant::now() + time,
        answers: Answers::Cached,
    }
}

/// `Local(ams) []`, `Fallback(fra) [Missing]` …
pub fn shown(case: &Case, verdict: &Verdict) -> String {
    let Subject::Routed(routed) = &case.subject else { panic!("{case:?}") };
    let name = |ix| routed.place(ix).unwrap().registry.name.to_string();
    let ruling = match &verdict.ruling {
        Ruling::Local { place, .. } => format!("Local({})", name(*place)),
        Ruling::Accepted { place, ground, .. } => format!("{ground:?}({})", name(*place)),
        Ruling::Fallback { place, .. } => format!("Fallback({})", place.map(name).unwrap_or_default()),
        other => format!("{other:?}"),
    };
    let findings: Vec<FindingKind> = verdict.findings.iter().map(|finding| finding.kind).collect();
    format!("{ruling} {findings:?}")
}

/// The only observation that fits.
pub fn learned(evidence: &Evidence, fits: fn(&Query) -> bool) -> (Observation, Duration) {
    let mut found = evidence.iter().filter(|(query, ..)| fits(query));
    let (_, observation, age) = found.next().unwrap();
    assert!(found.next().is_none());
    (observation.clone(), age)
}

/// How often each path was asked for, of this class.
pub fn asked(at: &Embedded, class: PathClass) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in at.log().into_iter().filter(|request| request.class == class) {
        *counts.entry(request.path).or_default() += 1;
    }
    counts
}

/// How many manifests were asked for.
pub fn manifests(at: &Embedded) -> usize {
    asked(at, PathClass::Manifests).values().sum()
}
