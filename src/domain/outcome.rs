//! Outcomes: what a Verdict does to the Pod, and its reason in one word.

use super::case::{Case, Place, Routed, Spelling, Subject};
use super::digest::Digest;
use super::finding::FindingKind;
use super::name::PullSecret;
use super::place::PlaceIx;
use super::route::{Pin, Rewrite};
use super::verdict::{Ground, KeepReason, Reason, Ruling, Verdict};

/// Whether a Verdict changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The Verdict is applied to the Pod.
    Applied,
    /// The Verdict is only recorded: `rewrite: false`, and no policy enforces.
    Observed,
}

/// What happens to one image of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why, in one word.
    pub reason: Reason,
    /// The new reference; `None` leaves the image as written.
    pub image: Option<Box<str>>,
    /// The Place that serves the image now; `None` where the image is kept as written or denied, or no copy is known.
    pub place: Option<PlaceIx>,
    /// The Secret that the Pod needs to pull from that Place.
    pub pull_secret: Option<PullSecret>,
    /// Whether the Verdict is applied or only recorded.
    pub effect: Effect,
}

impl Outcome {
    /// Computes what a Verdict does to the Pod.
    ///
    /// ```
    /// # use landfall::facade::config::{self, Files};
    /// # use landfall::facade::domain::case::{Exemption, PodContext, Pull};
    /// # use landfall::facade::domain::policy::Labels;
    /// use landfall::facade::domain::outcome::Outcome;
    /// use landfall::facade::domain::place::PlaceIx;
    /// use landfall::facade::domain::verdict::{Ruling, Verdict};
    /// # let text = "site: ams
    /// # registries:
    /// #   fra: {host: fra.example.com, site: fra, kind: harbor}
    /// #   ams: {host: ams.example.com, site: ams, kind: harbor}
    /// # routes:
    /// # - name: shop
    /// #   primary: {registry: fra, repositories: 'shop/**'}
    /// #   replicas: [{registry: ams, namespace: ''}]
    /// # ";
    /// # let now = "2026-11-21T12:00:00Z".parse()?;
    /// # let settings = config::parse(text, "site.yaml", Files::Skip, now)?.settings;
    /// # let (regime, platforms) = (settings.regime(&Labels::new(), now), settings.platforms.clone());
    /// # let context = PodContext { regime, platforms, exemption: Exemption::None, now };
    ///
    /// let case = settings.case_for("fra.example.com/shop/web:1", Pull::Registry, &context);
    /// let digest = format!("sha256:{}", "ab".repeat(32)).parse()?;
    /// let ruling = Ruling::Local { place: PlaceIx(0), digest };
    /// let outcome = Outcome::of(&case, &Verdict { ruling, findings: vec![], deciding: Some(PlaceIx(0)) });
    /// assert_eq!(outcome.reason.as_str(), "Local");
    /// assert_eq!(outcome.image.as_deref(), Some(&*format!("ams.example.com/shop/web:1@{digest}")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(case: &Case, verdict: &Verdict) -> Self {
        let reason = reason(verdict);
        let nothing = |reason, effect| Self { reason, image: None, place: None, pull_secret: None, effect };
        let (Subject::Routed(routed), false) = (&case.subject, matches!(verdict.ruling, Ruling::Keep(_)))
        else {
            return nothing(reason, Effect::Applied);
        };
        if routed.rewrite == Rewrite::Observe && !case.regime.enforces() {
            return nothing(Reason::Observed, Effect::Observed);
        }
        let (ix, digest) = verdict.ruling.used_copy();
        let Some((ix, place)) = ix.and_then(|ix| Some((ix, routed.place(ix)?))) else {
            return nothing(reason, Effect::Applied);
        };
        let named = ix == routed.named && routed.spelling == Spelling::Canonical;
        let pin = digest.filter(|_| routed.pin != Pin::Off || case.regime.enforces()).or(routed.digest);
        Self {
            reason: if named && reason == Reason::Local { Reason::AlreadyLocal } else { reason },
            image: if named { pinned(&case.written, routed, pin) } else { Some(moved(place, routed, pin)) },
            place: Some(ix),
            pull_secret: place.registry.pull_secret.clone(),
            effect: Effect::Applied,
        }
    }

    /// Whether the image denies the Pod.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.reason == Reason::Denied
    }

    /// Whether Landfall does not handle the image at all, so that it needs no annotation.
    #[must_use]
    pub fn keeps(&self) -> bool {
        match self.reason {
            Reason::Finding(FindingKind::NotRouted | FindingKind::Unparsable)
            | Reason::Excluded
            | Reason::Exempt
            | Reason::PullNever
            | Reason::Placeholder
            | Reason::MirrorPod
            | Reason::Internal => true,
            Reason::Local
            | Reason::AlreadyLocal
            | Reason::Accepted
            | Reason::Presumed
            | Reason::Fallback
            | Reason::Denied
            | Reason::Observed
            | Reason::Finding(_) => false,
        }
    }
}

fn reason(verdict: &Verdict) -> Reason {
    match verdict.ruling {
        Ruling::Local { .. } => Reason::Local,
        Ruling::Accepted { ground: Ground::Accepted, .. } => Reason::Accepted,
        Ruling::Accepted { ground: Ground::Presumed, .. } => Reason::Presumed,
        Ruling::Fallback { .. } => Reason::Fallback,
        Ruling::Deny => Reason::Denied,
        Ruling::Keep(KeepReason::NotRouted) => Reason::Finding(FindingKind::NotRouted),
        Ruling::Keep(KeepReason::Unparsable) => Reason::Finding(FindingKind::Unparsable),
        Ruling::Keep(KeepReason::Excluded) => Reason::Excluded,
        Ruling::Keep(KeepReason::Exempt) => Reason::Exempt,
        Ruling::Keep(KeepReason::PullNever) => Reason::PullNever,
        Ruling::Keep(KeepReason::Placeholder) => Reason::Placeholder,
    }
}

/// The reference as written, with the digest appended; `None` where nothing changes.
fn pinned(written: &str, routed: &Routed, pin: Option<Digest>) -> Option<Box<str>> {
    let pin = pin.filter(|_| routed.digest.is_none())?;
    let named = match &routed.tag {
        Some(tag) if routed.pin == Pin::Digest => {
            written.strip_suffix(tag.as_str()).and_then(|rest| rest.strip_suffix(':')).unwrap_or(written)
        }
        _ => written,
    };
    Some(format!("{named}@{pin}").into())
}

/// The reference at another Place, with the tag as written (never an invented `:latest`) and the digest.
fn moved(place: &Place, routed: &Routed, pin: Option<Digest>) -> Box<str> {
    let mut image = format!("{}/{}", place.registry.host, place.repository);
    let tag = routed.tag.as_ref().filter(|_| pin.is_none() || routed.pin != Pin::Digest);
    if let Some(tag) = tag {
        image.extend([":", tag.as_str()]);
    }
    if let Some(pin) = pin {
        image.push_str(&format!("@{pin}"));
    }
    image.into()
}
