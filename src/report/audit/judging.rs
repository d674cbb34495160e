//! Judges what a collection needs, a few at once, and makes the rows of it.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;

use super::needs::{Need, Needs};
use super::result::{Audit, Class, MOST_USERS, Row, Summary, Target};
use crate::domain::case::{Case, Locality, Subject};
use crate::domain::decision::ImageDecision;
use crate::domain::digest::Digest;
use crate::domain::evidence::Layers;
use crate::domain::facts::risk;
use crate::domain::finding::{Finding, FindingKind, PolicyKey};
use crate::domain::found::{Copy, Known};
use crate::domain::gap::Risk;
use crate::domain::messages::advice;
use crate::domain::name::PolicyName;
use crate::domain::policy::Labels;
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::domain::unknown::Unknown;
use crate::domain::verdict::{Ground as Accepted, KeepReason, Ruling};
use crate::evidence::{Answers, Asking, Compared, Judgement, Look, Observatory, Share};
use crate::report::workloads::Collection;

/// As whose Pod is asked: look-ups queue fairly by namespace, and no namespace has this name.
const NAMESPACE: &str = "(audit)";

/// How many images are judged at once. What one registry is asked at once is bounded by its `inFlight`.
const AT_ONCE: usize = 16;

/// How long one image may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The word of a row whose Pods run from elsewhere.
const RUNS_ELSEWHERE: &str = "RunsElsewhere";

/// How closely copies are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Whether the copy is there and scanned, as a door looks.
    AsTheDoors,
    /// Also its layers, its accessories, and whether a tag holds it.
    Deep,
}

/// By which settings is judged, and who is asked.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The settings, with the policies that count.
    pub settings: &'a Settings,
    /// What the registries are asked by.
    pub observatory: &'a Observatory,
    /// The labels of each namespace of the collection.
    pub labels: &'a BTreeMap<Box<str>, Labels>,
    /// The time of the judgement.
    pub now: Timestamp,
    /// How closely is looked.
    pub depth: Depth,
}

/// What became of one image.
struct Judged {
    class: Class,
    decision: ImageDecision,
    /// What `--deep` found beside it.
    risk: Option<(Risk, String)>,
    /// What `--deep` could not learn.
    unknown: Option<Unknown>,
    /// Whether a copy of this site is used.
    here: bool,
}

/// Audits a collection. `progress` is told how many images are judged, and of how many. Once `stop` is done, what was judged until
/// then is the result, which is then not complete.
pub async fn audit(
    ground: Ground<'_>,
    (target, collection): (Target, &Collection),
    stop: impl Future<Output = ()>,
    mut progress: impl FnMut(usize, usize),
) -> Audit {
    let mut needs = Needs::new(ground.settings, ground.labels, ground.now);
    collection.iter().for_each(|workload| needs.add(workload));
    let left_out = collection.left_out + needs.left_out;
    let needs = needs.done();
    let (all, mut rows, mut summary) = (needs.len(), Rows::default(), Summary::default());
    let mut notes: Vec<String> = collection.notes.iter().map(|note| plain(note).into_owned()).collect();
    let mut complete = collection.is_complete() && left_out == 0;
    if left_out > 0 {
        notes.push(format!(
            "{left_out} workloads, Pods or images were left out: they cannot be understood, or are too many"
        ));
    }
    if collection.static_pods > 0 {
        notes.push(format!(
            "{} static Pods were left out: their images come with their nodes",
            collection.static_pods
        ));
    }
    let (mut waiting, mut judged, mut done) = (needs.into_iter(), FuturesUnordered::new(), 0);
    let mut stop = pin!(stop);
    progress(0, all);
    loop {
        judged.extend(waiting.by_ref().take(AT_ONCE - judged.len()).map(|need| ground.need(need)));
        let next = match select(judged.next(), stop.as_mut()).await {
            Either::Left((Some(next), _)) => next,
            Either::Left((None, _)) => break,
            Either::Right(_) => {
                complete = false;
                summary.not_judged = all - done;
                notes.push(format!("interrupted after {done} of {all} images"));
                break;
            }
        };
        done += 1;
        progress(done, all);
        for (row, of_template) in next {
            if of_template {
                summary.count(row.class, row.with_unknown);
            }
            rows.add(row);
        }
    }
    summary.images = all;
    (summary.workloads, summary.pods, summary.left_out) = (collection.len(), collection.pods, left_out);
    let count = |counts: &BTreeMap<Box<str>, usize>| {
        counts.iter().map(|(name, count)| (plain(name).into_owned(), *count)).collect()
    };
    let (rows, fine) = rows.sorted();
    Audit {
        target,
        site: ground.settings.site.to_string(),
        at: ground.now,
        complete,
        summary,
        rows,
        left_alone: count(&collection.left_alone),
        not_looked_into: count(&collection.custom),
        skipped: count(&collection.skipped),
        notes,
        fine,
    }
}

impl Ground<'_> {
    /// The row of an image; and where what Landfall wrote into running Pods stands worse, a row of that, which is no image more.
    async fn need(self, need: Need) -> Vec<(Row, bool)> {
        let judged = self.judged(&need.image, &need).await;
        let mut rows = Vec::new();
        for image in &need.standing {
            let standing = self.judged(image, &need).await;
            let worse = standing.class < judged.class && standing.class <= Class::Scan;
            if worse && standing.decision.kinds() != judged.decision.kinds() {
                let mut row = row(image, &need, &standing);
                row.standing = true;
                row.workloads.retain(|user| user.runs.iter().any(|runs| *runs.image == *plain(image)));
                rows.push((row, false));
            }
        }
        rows.push((row(&need.image, &need, &judged), true));
        rows
    }

    async fn judged(self, image: &str, need: &Need) -> Judged {
        let case = self.settings.case_for(image, need.pull, &need.context);
        let mut judgement = self.judge(&case).await;
        let (mut found, mut unknown) = (None, None);
        if self.depth == Depth::Deep
            && let Some(copy) = self.copy(&case, &judgement).await
        {
            let (damaged, whole) = self.layers(&copy, &mut unknown).await;
            if damaged {
                // It is remembered now, so the door's judgement is another one.
                judgement = self.judge(&case).await;
            }
            if whole {
                match self.observatory.compared(&copy, Instant::now() + PATIENCE).await {
                    Ok(Some(Compared { here, primary })) => {
                        found = risk(&here, primary.as_ref().ok().and_then(Option::as_ref));
                        unknown = unknown.or(primary.err());
                    }
                    Ok(None) => {}
                    Err(why) => unknown = unknown.or(Some(why)),
                }
            }
        }
        let here = is_here(&case, &judgement.verdict.ruling);
        let class = class(&judgement);
        let class = match class {
            Class::Fine if found.is_some() => Class::Risk,
            Class::Fine if unknown.is_some() => Class::Unknown,
            class => class,
        };
        Judged { class, decision: ImageDecision::of(&case, judgement.verdict), risk: found, unknown, here }
    }

    async fn judge(self, case: &Case) -> Judgement {
        let deadline = Instant::now() + PATIENCE;
        let asking =
            Asking { share: Share::Mutating, namespace: NAMESPACE, deadline, answers: Answers::Cached };
        self.observatory.judge_with_tags(case, asking).await
    }

    /// The copy of this site that is used.
    async fn copy(self, case: &Case, judgement: &Judgement) -> Option<Copy> {
        let (used, _) = judgement.verdict.ruling.used_copy();
        let here = case.at(used.or(judgement.verdict.deciding)?)?;
        // Its answers were learned a moment ago.
        Copy::of(&here, &self.judge(&here).await.evidence)
    }

    /// Whether the look at the layers changed what is known of the copy, and whether its manifest is whole.
    async fn layers(self, copy: &Copy, unknown: &mut Option<Unknown>) -> (bool, bool) {
        let (mut changed, mut whole) = (false, true);
        for (manifest, known) in &copy.manifests {
            let deadline = Instant::now() + PATIENCE;
            match (self.observatory.layers(&copy.place, *manifest, Look::Sample, deadline).await, known) {
                (Layers::Lost(_), known) => {
                    changed |= *known == Known::Whole;
                    whole = false;
                }
                (Layers::Complete { .. }, known) => changed |= *known == Known::Damaged,
                (Layers::Absent, _) => {}
                (Layers::Unknown(why), _) => *unknown = Some(why),
            }
        }
        (changed, whole)
    }
}

fn is_here(case: &Case, ruling: &Ruling) -> bool {
    let Subject::Routed(routed) = &case.subject else { return false };
    let place = ruling.used_copy().0.and_then(|ix| routed.place(ix));
    place.is_some_and(|place| place.locality == Locality::Local)
}

fn is_presence(kind: FindingKind) -> bool {
    matches!(kind.key(), PolicyKey::OnMissing | PolicyKey::OnStale)
}

fn is_scan(kind: FindingKind) -> bool {
    matches!(kind.key(), PolicyKey::OnUnscanned | PolicyKey::OnUnscannable | PolicyKey::OnVulnerable)
}

fn is_unknown(kind: FindingKind) -> bool {
    matches!(kind.key(), PolicyKey::OnUnknown | PolicyKey::OnUnproved)
}

fn class(judgement: &Judgement) -> Class {
    let has = |is: fn(FindingKind) -> bool| judgement.verdict.findings.iter().any(|finding| is(finding.kind));
    match &judgement.verdict.ruling {
        Ruling::Deny => Class::Denied,
        Ruling::Keep(KeepReason::NotRouted | KeepReason::Unparsable) => Class::Unrouted,
        Ruling::Keep(_) => Class::Kept,
        Ruling::Local { .. } if judgement.verdict.findings.is_empty() => Class::Fine,
        // Another copy of this site is proved.
        Ruling::Local { .. } => Class::Partly,
        Ruling::Accepted { ground: Accepted::Presumed, .. } => Class::Unknown,
        Ruling::Fallback { .. } | Ruling::Accepted { .. } if has(is_presence) => Class::Missing,
        Ruling::Fallback { .. } | Ruling::Accepted { .. } if has(is_unknown) => Class::Unknown,
        Ruling::Fallback { .. } | Ruling::Accepted { .. } if has(is_scan) => Class::Scan,
        // Nothing was found: the judgement was not settled.
        Ruling::Fallback { .. } => Class::Unknown,
        Ruling::Accepted { .. } => Class::Fine,
    }
}

fn row(image: &str, need: &Need, judged: &Judged) -> Row {
    let Judged { class, decision, risk, unknown, here } = judged;
    let first = |is: fn(FindingKind) -> bool| decision.findings.iter().find(|finding| is(finding.kind));
    let main = match class {
        Class::Denied => decision.blocking().next(),
        Class::Missing => first(is_presence),
        Class::Unknown => first(is_unknown),
        Class::Scan => first(is_scan),
        _ => None,
    };
    let main = main.or_else(|| decision.findings.first().filter(|_| *class != Class::Risk));
    let kinds = decision.kinds();
    let word = |is: fn(FindingKind) -> bool| {
        kinds.iter().find(|kind| is(**kind)).map(|kind| kind.as_str().to_owned())
    };
    let elsewhere = *here && need.users.iter().any(super::result::User::runs_elsewhere);
    let class = if elsewhere && *class == Class::Fine { Class::RunsElsewhere } else { *class };
    let mut findings: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    findings.extend(risk.as_ref().map(|(risk, _)| <&str>::from(risk).to_owned()));
    if elsewhere {
        findings.push(RUNS_ELSEWHERE.to_owned());
    }
    if class == Class::Unrouted && findings.is_empty() {
        findings.push(decision.outcome.reason.to_string());
    }
    let told = told(class, main, judged);
    Row {
        class,
        finding: told.finding,
        presence: word(|kind| is_presence(kind) || is_unknown(kind)),
        scan: word(is_scan),
        findings,
        image: plain(image).into_owned(),
        standing: false,
        name: plain(&decision.name).into_owned(),
        digest: decision.digest.as_ref().map(Digest::to_string),
        place: main
            .and_then(|finding| decision.registry_of(finding))
            .or(decision.serving())
            .map(ToString::to_string),
        action: main.map(|finding| finding.action.to_string()),
        reason: decision.outcome.reason.to_string(),
        becomes: decision.outcome.image.as_deref().map(str::to_owned),
        policies: main.iter().flat_map(|finding| &finding.policies).map(PolicyName::to_string).collect(),
        detail: told.detail,
        advice: told.advice.to_owned(),
        pods: need.pods,
        workloads: need.users.clone(),
        more_workloads: need.more,
        with_unknown: kinds.iter().any(|kind| is_unknown(*kind))
            || unknown.is_some()
            || class == Class::Unknown,
    }
}

/// What is said of a row.
struct Told {
    finding: String,
    detail: String,
    advice: &'static str,
}

fn told(class: Class, main: Option<&Finding>, judged: &Judged) -> Told {
    let plain = |text: &str| plain(text).into_owned();
    match (class, main, &judged.risk) {
        (Class::RunsElsewhere, ..) => Told {
            finding: RUNS_ELSEWHERE.to_owned(),
            detail: String::new(),
            advice: "restart these Pods (`kubectl rollout restart`): new ones get the copy that is here",
        },
        (Class::Risk, _, Some((risk, detail))) => Told {
            finding: <&str>::from(risk).to_owned(),
            detail: plain(detail),
            advice: match risk {
                Risk::AccessoryMissing => "replicate accessories, too: let the filters of the rule pass them",
                _ => "hold it with a tag: `landfall copy` sets one, or replicate its tag again",
            },
        },
        (_, Some(finding), _) => Told {
            finding: finding.kind.as_str().to_owned(),
            detail: plain(&finding.detail),
            advice: advice(finding.kind),
        },
        (_, None, _) => Told {
            finding: judged.decision.outcome.reason.to_string(),
            detail: judged.unknown.as_ref().map(|why| plain(&why.detail)).unwrap_or_default(),
            advice: match class {
                Class::Unrouted => advice(FindingKind::NotRouted),
                Class::Unknown => "try again when the registry answers",
                _ => "",
            },
        },
    }
}

/// Rows, each once: what is the same under several rules is one row.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    known: HashMap<String, usize>,
}

impl Rows {
    fn add(&mut self, row: Row) {
        if row.class == Class::Kept {
            return;
        }
        let key = format!(
            "{:?} {:?} {:?} {:?} {} {} {:?} {:?}",
            row.class, row.findings, row.place, row.action, row.image, row.standing, row.digest, row.becomes
        );
        let Some(known) = self.known.get(&key).and_then(|at| self.rows.get_mut(*at)) else {
            self.known.insert(key, self.rows.len());
            self.rows.push(row);
            return;
        };
        known.pods = known.pods.saturating_add(row.pods);
        known.more_workloads += row.more_workloads;
        for user in row.workloads {
            if known.workloads.len() < MOST_USERS {
                known.workloads.push(user)
            } else {
                known.more_workloads += 1
            }
        }
    }

    /// The worst first, and then what most Pods run with; apart, those that are fine.
    fn sorted(mut self) -> (Vec<Row>, Vec<Row>) {
        self.rows.sort_by(|a, b| {
            let key = |row: &Row| (row.class, row.finding.clone(), row.place.clone(), row.action.clone());
            key(a).cmp(&key(b)).then(b.pods.cmp(&a.pods)).then_with(|| a.image.cmp(&b.image))
        });
        for row in &mut self.rows {
            row.workloads
                .sort_by(|a, b| (&a.namespace, &a.kind, &a.name).cmp(&(&b.namespace, &b.kind, &b.name)));
        }
        self.rows.into_iter().partition(|row| row.class != Class::Fine)
    }
}
