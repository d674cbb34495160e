//! A row of the table, the trials that it makes, and what must come of each.

use std::fmt;
use std::time::Duration;

use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{Certificate, Embedded, Login, PathClass, Store};
use landfall::facade::domain::finding::{Action, FindingKind, PolicyKey};
use tokio::time::{sleep, timeout};

use super::ground::{Ground, asked};
use super::support::wait::{PATIENCE, later};

/// One fault.
pub struct Row {
    pub name: &'static str,
    pub given: Given,
    pub trouble: Trouble,
    /// What is found at a Place in this trouble; nothing: it qualifies.
    pub finds: &'static [FindingKind],
    /// What is asked of it, as [`asked`] says it.
    pub asks: &'static str,
}

/// What is otherwise than usual.
pub struct Given {
    pub local: Local,
    pub content: fn() -> Content,
    pub by: By,
    /// `scan`, but for its bounds.
    pub scan: &'static str,
    /// Added to each replica.
    pub replica: &'static str,
    pub patience: Patience,
    /// `cache`
    pub cache: &'static str,
    /// The image was judged before, and so much time has passed since.
    pub judged_before: Option<Duration>,
    /// The trouble is the primary's.
    pub at_primary: bool,
    pub sites: &'static [Site],
}

/// What the local Places are.
pub enum Local {
    Harbor,
    Plain(Login),
}

/// How the Pod names the image. A tag needs proof here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Digest,
    Tag,
}

/// How long an attempt and a request may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Longer than anything here takes.
    Long,
    /// An attempt ends long before its request.
    Short,
    /// The request ends long before an attempt.
    None,
}

/// The Places around the one in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// One local Place.
    One,
    /// A second local Place is in order.
    SecondSound,
    /// The second is in the same trouble.
    BothTroubled,
    /// One local Place, and the primary is known to be down.
    PrimaryDown,
}

const EVERYWHERE: &[Site] = &[Site::One, Site::SecondSound, Site::BothTroubled, Site::PrimaryDown];

/// What is wrong.
pub enum Trouble {
    Nothing,
    /// Nobody listens.
    Down,
    /// It accepts, and says nothing.
    Frozen,
    /// It shows another certificate.
    Shows(Certificate),
    /// On the way to all clients.
    Way(Fault),
    /// On the way to who asks for such a path.
    Of(PathClass, Fault),
    /// Inside.
    Inside(fn(&mut Store, &Content)),
    /// Anything else.
    Do(fn(&Ground, &Embedded)),
}

impl Default for Given {
    fn default() -> Self {
        Self {
            local: Local::Harbor,
            content: || Content::image("web"),
            by: By::Digest,
            scan: "required: Auto",
            replica: "",
            patience: Patience::Long,
            cache: "present: 10m, remember: 24h, tag: 30s, absent: 10s, scan: 5m",
            judged_before: None,
            at_primary: false,
            sites: EVERYWHERE,
        }
    }
}

impl Row {
    /// A fault of a Harbor in Amsterdam, which holds a plain image, named by its digest.
    pub fn harbor(
        name: &'static str,
        trouble: Trouble,
        finds: &'static [FindingKind],
        asks: &'static str,
    ) -> Self {
        let given = Given::default();
        Self { name, given, trouble, finds, asks }
    }

    /// A fault of a plain registry. It has no scans, so none is required.
    pub fn plain(
        name: &'static str,
        login: Login,
        trouble: Trouble,
        finds: &'static [FindingKind],
        asks: &'static str,
    ) -> Self {
        let mut row = Self::harbor(name, trouble, finds, asks).scan("required: Never");
        row.given.local = Local::Plain(login);
        row
    }

    /// The image is an index for two platforms.
    pub fn index(self) -> Self {
        self.of(|| Content::index("web", Flavour::Oci, &["linux/amd64", "linux/arm64"]))
    }

    pub fn of(mut self, content: fn() -> Content) -> Self {
        self.given.content = content;
        self
    }

    /// The Pod names a tag, which must be proved. Where the primary is down, nothing can be.
    pub fn by_tag(mut self) -> Self {
        self.given.by = By::Tag;
        self.at(&[Site::One, Site::SecondSound, Site::BothTroubled])
    }

    /// The trouble is the primary's, so it meets every copy, and nothing more is asked of Amsterdam.
    pub fn primary(mut self) -> Self {
        self.given.at_primary = true;
        self.by_tag().at(&[Site::One, Site::BothTroubled])
    }

    pub fn scan(mut self, scan: &'static str) -> Self {
        self.given.scan = scan;
        self
    }

    pub fn replica(mut self, more: &'static str) -> Self {
        self.given.replica = more;
        self
    }

    pub fn patience(mut self, patience: Patience) -> Self {
        self.given.patience = patience;
        self
    }

    pub fn judged_before(mut self, ago: Duration) -> Self {
        self.given.judged_before = Some(ago);
        self
    }

    pub fn at(mut self, sites: &'static [Site]) -> Self {
        self.given.sites = sites;
        self
    }

    /// Every site with every action that makes a difference there.
    pub fn trials(&self) -> Vec<Trial<'_>> {
        let mut trials: Vec<Trial<'_>> = Vec::new();
        for site in self.given.sites {
            // Strictest first: where the action does not matter, the strictest is tried.
            for action in [Action::Block, Action::Fallback, Action::Accept] {
                let trial = Trial { row: self, site: *site, action };
                let known = |one: &Trial<'_>| one.site == *site && one.foretold() == trial.foretold();
                if !trials.iter().any(known) {
                    trials.push(trial);
                }
            }
        }
        trials
    }

    /// The strictest of what is done about the findings where the policy says `action` wherever it may.
    fn done(&self, action: Action) -> Option<Action> {
        let on = |kind: &FindingKind| match kind.key() {
            // A proxy cache that was declared is used, unless a policy forbids it.
            _ if *kind == FindingKind::ProxyCache && !self.given.replica.is_empty() => match action {
                Action::Block => Action::Block,
                Action::Accept | Action::Fallback => Action::Accept,
            },
            PolicyKey::OnMissing | PolicyKey::OnUnknown => action.max(Action::Fallback),
            PolicyKey::OnVulnerable if action != Action::Block => Action::Accept,
            _ => action,
        };
        self.finds.iter().map(on).max()
    }
}

/// One row, tried at one site with one action.
pub struct Trial<'a> {
    row: &'a Row,
    site: Site,
    action: Action,
}

impl fmt::Display for Trial<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} · {:?} · {:?}", self.row.name, self.site, self.action)
    }
}

impl Trial<'_> {
    /// What must come of it.
    fn foretold(&self) -> String {
        let finds = self.row.finds;
        let gone = |kind: &FindingKind| matches!(kind, FindingKind::Missing | FindingKind::PullFailed);
        let outcome = match (self.row.done(self.action), self.site) {
            (None, _) => "Local ams",
            (Some(_), Site::SecondSound) => "Local ijm",
            (Some(Action::Accept), _) => "Accepted ams",
            (Some(Action::Block), _) => "Denied -",
            (Some(Action::Fallback), Site::PrimaryDown) if finds.iter().any(gone) => "Fallback -",
            (Some(Action::Fallback), Site::PrimaryDown) => "Presumed ams",
            (Some(Action::Fallback), Site::One | Site::BothTroubled) => "Fallback fra",
        };
        let times = if self.site == Site::BothTroubled { 2 } else { 1 };
        format!("{outcome} {:?}", finds.repeat(times))
    }

    /// Makes the trouble, and judges.
    ///
    /// # Errors
    /// What came otherwise than foretold, in words.
    pub async fn hold(&self) -> Result<(), String> {
        let Row { given, trouble, asks, .. } = self.row;
        let ground = Ground::lay(given, self.site, self.action).await;
        if let Some(ago) = given.judged_before {
            let before = ground.judge().await;
            if before != "Local ams []" {
                return Err(format!("before the trouble: {before}"));
            }
            later(ago).await;
            ground.ams.clear_log();
        }
        let alike = ground.ijm.as_ref().filter(|_| self.site == Site::BothTroubled);
        let troubled = match given.at_primary {
            true => vec![&ground.fra],
            false => [&ground.ams].into_iter().chain(alike).collect(),
        };
        for at in troubled {
            trouble.befall(&ground, at).await;
        }
        let came = ground.judge().await;
        if came != self.foretold() {
            return Err(format!("{came}, but foretold was {}", self.foretold()));
        }
        // What is known of a slow registry is told at once, and asked for at the same time.
        let all_asked = timeout(PATIENCE, async {
            while asked(&ground.ams.log()) != *asks {
                sleep(Duration::from_millis(2)).await;
            }
        });
        all_asked
            .await
            .map_err(|_| format!("asked `{}`, but foretold was `{asks}`", asked(&ground.ams.log())))
    }
}

impl Trouble {
    async fn befall(&self, ground: &Ground, at: &Embedded) {
        match self {
            Self::Nothing => {}
            Self::Down => at.down().await,
            Self::Frozen => at.freeze().await,
            Self::Shows(certificate) => at.present(&ground.world, *certificate).unwrap(),
            Self::Way(fault) => at.faults().add(Scope::Everything, fault.clone()),
            Self::Of(class, fault) => at.faults().add(Scope::Only(*class), fault.clone()),
            Self::Inside(change) => change(&mut at.store(), &ground.content),
            Self::Do(change) => change(ground, at),
        }
    }
}
