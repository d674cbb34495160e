//! What is missing is closed: by the leader of the demo's site, and by a copy. The code is that of a cluster: the leader keeps
//! ReplicationGaps of an API server and heals them; a copy is what `landfall copy` makes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry as Page;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::StoryError;
use super::world::api_server::ApiServer;
use super::world::seed::{Demo, Named};
use super::world::{Permission, Scan};
use crate::cluster::Cluster;
use crate::copy::{Copier, Options, Pace as Rate, Peer, Referrers, Run, Shared, Side, Tags};
use crate::domain::case::{Case, Exemption, Locality, Place, PodContext, Pull, Subject};
use crate::domain::gap::{GapKey, GapSubject};
use crate::domain::image::{Repository, Tag};
use crate::domain::policy::Labels;
use crate::domain::registry::Registry;
use crate::domain::settings::Settings;
use crate::evidence::{Look, Observatory};
use crate::ledger::{Healer, Keeping, LedgerMetrics, Notices, Pace, Recheck, Record, Terms, lag_of};
use crate::registry::{Client, Metrics, Tasks};

/// What only something that hangs takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often Amsterdam's scanner looks for work.
const GLANCE: Duration = Duration::from_millis(20);

/// The leader of the site, while it lives.
pub(super) struct Leader {
    _api: ApiServer,
    leading: [JoinHandle<()>; 2],
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.leading.iter().for_each(JoinHandle::abort);
    }
}

/// In a cluster, most of this takes minutes.
fn terms() -> Terms {
    let short = Duration::from_millis(50);
    Terms { tick: short, poll: short, rest: short, looks: (short, 10), ..Terms::default() }
}

/// What closes gaps, and works with what the doors work with.
pub(super) struct Closing<'a> {
    pub(super) demo: &'a Demo,
    pub(super) settings: &'a Arc<ArcSwap<Settings>>,
    pub(super) observatory: &'a Arc<Observatory>,
    pub(super) recheck: &'a Recheck,
    pub(super) metrics: &'a LedgerMetrics,
}

impl Closing<'_> {
    /// This replica leads from now on, with a record of each gap of these images in the ledger. It ends when a scan was
    /// finished for each.
    pub(super) async fn heal(
        &self,
        images: &[Named],
        ledger: &[(GapKey, Record)],
    ) -> Result<Leader, StoryError> {
        let api = ApiServer::start().await.map_err(|source| StoryError::Socket { source })?;
        let cluster = Cluster::answering_at(&api.url())?;
        let objects = cluster.gaps();
        for (key, record) in ledger.iter().filter(|(key, _)| is_of(key, images)) {
            let made = objects.create(key).await?;
            objects.write(&made, record).await?;
        }
        let (events, writing) = cluster.events("landfall-0");
        let (notices, pace) = (Notices::new(events), Pace::default());
        let (settings, observatory) = (self.settings.clone(), self.observatory.clone());
        let lag = lag_of(settings.clone(), observatory.clone(), Timestamp::now);
        let looks = self.recheck.clone();
        let healer = Healer::new(
            settings,
            observatory,
            objects.clone(),
            notices.clone(),
            pace.clone(),
            looks.clone(),
            self.metrics.clone(),
            Timestamp::now,
            terms(),
        );
        // Nobody reads rules here but the healer.
        let (rules, read) = watch::channel(None);
        let week = SignedDuration::from_hours(168);
        let clock = Timestamp::now;
        let (keeper, keeping) =
            Keeping::new(objects, notices, pace, looks, lag, read, week, self.metrics.clone(), clock);
        let mut keeping = keeping.healed_by(healer);
        let leading = tokio::spawn(async move {
            let _told = (keeper, rules);
            keeping.keep().await;
        });
        let leader = Leader { _api: api, leading: [leading, tokio::spawn(writing.run())] };
        // Where a scan is never asked for, the story does not end as told.
        let _ = timeout(PATIENCE, self.scan(images)).await;
        Ok(leader)
    }

    /// Amsterdam's scanner: it scans what arrives and what it is asked for. It ends when each of these images was scanned.
    async fn scan(&self, images: &[Named]) {
        let digest = |name: &Named| self.demo.ams.store().digest(name.repository, name.tag);
        let held: Vec<Named> = images.iter().copied().filter(|name| digest(name).is_some()).collect();
        let mut left = images.to_vec();
        while !left.is_empty() {
            let log = self.demo.ams.log();
            let started = log.iter().filter(|one| one.status == Some(StatusCode::ACCEPTED));
            let started: Vec<&str> = started.map(|one| one.path.as_str()).collect();
            left.retain(|name| {
                let Some(digest) = digest(name) else { return true };
                let is_asked = started.iter().any(|path| path.contains(&digest.to_string()));
                if !is_asked && held.contains(name) {
                    return true;
                }
                self.demo.ams.store().set_scan(&digest, Scan::clean());
                false
            });
            sleep(GLANCE).await;
        }
    }

    /// The storage of Amsterdam loses the layers of an image, and the sweep's look finds that.
    pub(super) async fn lose_layers(&self, name: Named) {
        {
            let mut store = self.demo.ams.store();
            if let Some(digest) = store.digest(name.repository, name.tag) {
                store.lose_layers(name.repository, &digest);
            }
        }
        self.look_at_layers(name).await;
    }

    async fn look_at_layers(&self, name: Named) {
        let digest = self.demo.ams.store().digest(name.repository, name.tag);
        if let Some((digest, place)) = digest.zip(self.local_place(name)) {
            self.observatory.layers(&place, digest, Look::Deep, Instant::now() + PATIENCE).await;
        }
    }

    /// `landfall copy` of an image from Frankfurt to Amsterdam, and the look of the next sweep.
    pub(super) async fn copy(&self, Named { repository, tag }: Named) -> Result<(), StoryError> {
        let writer = self.demo.world.robot(&self.demo.ams, "copy", &[Permission::Pull, Permission::Push])?;
        let source = self.demo.fra.registry("fra", "harbor.fra.example.com");
        let target =
            Registry { credentials: writer, ..self.demo.ams.registry("ams", "harbor.ams.example.com") };
        let (source, target) = (client(source)?, client(target)?);
        let tell = |_: crate::copy::Event<'_>| {};
        let peer = |client, side| Peer { client, repository: Repository::new(repository), side, tell: &tell };
        let options = Options {
            platforms: Vec::new(),
            referrers: Referrers::Along,
            tags: Tags::Stay,
            run: Run::Real,
            parallel: 2,
        };
        let copier = Copier {
            source: peer(&source, Side::Source),
            target: peer(&target, Side::Target),
            options: &options,
            shared: &Shared::new(Rate::new(None)),
            tell: &tell,
        };
        // What could not be copied shows in the story.
        copier.copy(Some(&Tag::new(tag)), None).await;
        self.look_at_layers(Named { repository, tag }).await;
        Ok(())
    }

    /// The Place of our site where an image of Frankfurt is copied to.
    fn local_place(&self, Named { repository, tag }: Named) -> Option<Place> {
        let image = format!("harbor.fra.example.com/{repository}:{tag}");
        let (settings, now) = (self.settings.load(), Timestamp::now());
        let (regime, platforms) = (settings.regime(&Labels::new(), now), settings.platforms.clone());
        let context = PodContext { regime, platforms, exemption: Exemption::None, now };
        let Case { subject: Subject::Routed(routed), .. } =
            settings.case_for(&image, Pull::Registry, &context)
        else {
            return None;
        };
        routed.places.into_iter().find(|place| place.locality == Locality::Local)
    }
}

fn is_of(key: &GapKey, images: &[Named]) -> bool {
    match &key.subject {
        GapSubject::Image { name, .. } => {
            images.iter().any(|image| name.split_once('/').is_some_and(|(_, path)| path == image.repository))
        }
        GapSubject::Rule(_) => false,
    }
}

fn client(registry: Registry) -> Result<Client, StoryError> {
    let metrics = Metrics::register(&mut Page::default());
    Client::new(&Arc::new(registry), metrics, Tasks::default())
        .map_err(|source| StoryError::Registry { source })
}
