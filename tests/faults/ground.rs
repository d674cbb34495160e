//! The ground of one trial: Frankfurt is the primary, Amsterdam our replica, IJmuiden the second one on our site.

use std::time::Duration;

use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::{Embedded, Login, PathClass, Request, Scan, World, entry};
use landfall::facade::domain::case::Subject;
use landfall::facade::domain::finding::{Action, FindingKind};
use landfall::facade::domain::outcome::Outcome;
use landfall::facade::domain::settings::Settings;
use landfall::facade::domain::verdict::Reason;
use landfall::facade::evidence::{Answers, Asking, Observatory, Share};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::row::{By, Given, Local, Patience, Site};
use super::support::case_for;
use super::support::metrics::Page;
use super::support::wait::ends;

/// Where the image lies, everywhere.
pub const REPOSITORY: &str = "production/shop/web";
/// Its tag.
pub const TAG: &str = "1.4.2";

/// The registries, the settings, and who asks.
pub struct Ground {
    pub world: World,
    pub fra: Embedded,
    pub ams: Embedded,
    /// The second local Place, where there is one.
    pub ijm: Option<Embedded>,
    /// An open registry that belongs to nobody's route, and holds the image, too.
    pub other: Embedded,
    pub content: Content,
    settings: Settings,
    observatory: Observatory,
    metrics: Registry,
    image: String,
}

/// What was ruled, in words: the reason, the Place that serves, and what was found where.
#[derive(Debug)]
pub struct Ruled {
    pub reason: Reason,
    pub place: Option<String>,
    pub findings: Vec<(String, FindingKind)>,
}

impl Ground {
    /// Everything in order: every registry holds the image, scanned clean.
    pub async fn lay(given: &Given, site: Site, action: Action) -> Self {
        let world = World::new().unwrap();
        let content = (given.content)();
        let fra = world.harbor("fra").await.unwrap();
        let ams = local(&world, &given.local, "ams").await;
        let ijm = match site {
            Site::One | Site::PrimaryDown => None,
            Site::SecondSound | Site::BothTroubled => Some(local(&world, &given.local, "ijm").await),
        };
        let other = world.plain("other", Login::Open).await.unwrap();
        for at in [&fra, &ams, &other].into_iter().chain(&ijm) {
            let mut store = at.store();
            let digest = store.push(REPOSITORY, TAG, &content);
            store.set_scan(&digest, Scan::clean());
        }
        let text = configuration(given, site, action, &fra, &ams, ijm.as_ref());
        let parsed = config::parse(&text, "fault.yaml", Files::Check, jiff::Timestamp::now());
        let settings = parsed.unwrap_or_else(|problems| panic!("{problems}\n{text}")).settings;
        let mut metrics = Registry::default();
        let observatory = Observatory::new(&settings, &mut metrics);
        let image = match given.by {
            By::Tag => format!("harbor.fra.example.com/{REPOSITORY}:{TAG}"),
            By::Digest => format!("harbor.fra.example.com/{REPOSITORY}@{}", content.digest),
        };
        Self { world, fra, ams, ijm, other, content, settings, observatory, metrics, image }
    }

    /// `Local ams []`, `Fallback fra [Unreachable]`, `Denied - [Missing]` …; it fails where the budget does not end it.
    pub async fn judge(&self) -> String {
        let ruled = ends("the budget is over", self.rule(self.settings.budget.request)).await;
        let Ruled { reason, place, findings } = ruled;
        let findings: Vec<_> = findings.iter().map(|(_, kind)| kind).collect();
        format!("{reason} {} {findings:?}", place.as_deref().unwrap_or("-"))
    }

    /// What Landfall says of itself now.
    pub fn page(&self) -> Page {
        Page::of(&self.metrics)
    }

    /// Judges within this time.
    pub async fn rule(&self, time: Duration) -> Ruled {
        let case = case_for(&self.settings, &self.image);
        let verdict = self
            .observatory
            .judge(
                &case,
                Asking {
                    share: Share::Mutating,
                    namespace: "shop",
                    deadline: Instant::now() + time,
                    answers: Answers::Cached,
                },
            )
            .await
            .verdict;
        let Subject::Routed(routed) = &case.subject else { panic!("{case:?}") };
        let name = |ix| Some(routed.place(ix)?.registry.name.to_string());
        let Outcome { reason, place, .. } = Outcome::of(&case, &verdict);
        let findings = verdict.findings.iter();
        let findings = findings.map(|one| (one.place.and_then(name).unwrap_or_default(), one.kind)).collect();
        Ruled { reason, place: place.and_then(name), findings }
    }
}

async fn local(world: &World, kind: &Local, name: &str) -> Embedded {
    match kind {
        Local::Harbor => world.harbor(name).await.unwrap(),
        Local::Plain(login) => world.plain(name, login.clone()).await.unwrap(),
    }
}

fn configuration(
    given: &Given,
    site: Site,
    action: Action,
    fra: &Embedded,
    ams: &Embedded,
    ijm: Option<&Embedded>,
) -> String {
    let drained = if site == Site::PrimaryDown { "drain: true" } else { "" };
    let fra = entry(&fra.registry("fra", "harbor.fra.example.com"), drained);
    let ams = entry(&ams.registry("ams", "harbor.ams.example.com"), "");
    let replica = |name: &str| {
        format!("\n      - {{registry: {name}, namespace: production, flatten: 1{}}}", given.replica)
    };
    let mut replicas = replica("ams");
    let mut registries = format!("  fra: {fra}\n  ams: {ams}\n");
    if let Some(ijm) = ijm {
        registries += &format!("  ijm: {}\n", entry(&ijm.registry("ams", "harbor.ijm.example.com"), ""));
        replicas += &replica("ijm");
    }
    let (request, attempt) = match given.patience {
        Patience::Long => ("20s", "10s"),
        Patience::Short => ("6s", "2s"),
        Patience::None => ("500ms", "500ms"),
    };
    let allowed = |least: Action| action.max(least);
    let (unknown, vulnerable) =
        (allowed(Action::Fallback), if action == Action::Block { Action::Block } else { Action::Accept });
    format!(
        r#"
site: ams
registries:
{registries}
routes:
  - name: production
    primary: {{registry: fra, repositories: "production/**"}}
    replicas:{replicas}
    tagProof: {proof}
cache: {{{cache}}}
budget: {{request: {request}, attempt: {attempt}, inFlight: 16}}
policies:
  - metadata: {{name: strict}}
    spec:
      namespaceSelector: {{}}
      enforcement: Enforce
      onMissing: {unknown:?}
      onStale: {action:?}
      onUnknown: {unknown:?}
      onUnproved: {action:?}
      onUnscanned: {action:?}
      onVulnerable: {vulnerable:?}
      scan: {{{scan}, maxSeverity: High, maxAge: 720h}}
"#,
        proof = if given.by == By::Tag { "Required" } else { "Background" },
        scan = given.scan,
        cache = given.cache,
    )
}

/// What was asked, shortly: `artifact, 2 head, project`.
pub fn asked(log: &[Request]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for request in log {
        let path = request.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let head = request.method == "HEAD";
        let what = match (request.class, parts.as_slice()) {
            (PathClass::Manifests, _) if head => "head",
            (PathClass::Manifests, _) => "get",
            (PathClass::Token, _) => "token",
            (PathClass::Api, [.., "projects"]) if head => "exists",
            (PathClass::Api, [.., "projects", _]) => "project",
            (PathClass::Api, [.., "additions", "vulnerabilities"]) => "report",
            (PathClass::Api, [.., "artifacts", _]) => "artifact",
            (PathClass::Api, [.., last]) => last,
            _ => path,
        };
        *counts.entry(what).or_default() += 1;
    }
    let words = counts.iter().map(|(what, count)| match count {
        1 => (*what).to_owned(),
        count => format!("{count} {what}"),
    });
    words.collect::<Vec<_>>().join(", ")
}
