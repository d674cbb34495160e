//! The stage: the world, and the real server in front of it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::answer::{Response, field};
use super::closing::{Closing, Leader};
use super::control::{Control, Pages};
use super::pod::{Becomes, Image};
use super::records::{entries, gaps_of};
use super::script::{Act, Event, Sent, Story, Way, Who};
use super::told::{Admission, Ending, Found, Second, Told, ToldAct, ToldImage};
use super::world::authority::Validity;
use super::world::content::Content;
use super::world::faults::Scope;
use super::world::seed::{self, Demo, Named};
use super::world::{Embedded, Reachable, ReplicationRule, Scan};
use super::{PATIENCE, StoryError, script, settings};
use crate::admission::{Doors, LabelsOf, MUTATE};
use crate::config::{self, Files};
use crate::domain::gap::GapKey;
use crate::domain::policy::{Labels, NAMESPACE_NAME, VALIDATE};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::{Book, LedgerMetrics, Recheck, Record, Recorder, recheck};
use crate::server::{
    Callers, Conditions, Drain, Limits, Listener, Pair, Served, ServerMetrics, ServingCertificate, Status,
    TlsVersions, Transport, server_config,
};

/// The pause before a review is sent again, while Landfall has not noticed an event yet.
const AGAIN: Duration = Duration::from_millis(20);

/// A world, the server in front of it, and the client that sends the reviews.
pub struct Stage {
    /// The registries.
    pub demo: Demo,
    /// The configuration, as a user would write it.
    pub configuration: String,
    url: String,
    /// The address of the second door, without its selector.
    validate: String,
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    client: reqwest::Client,
    recorder: Recorder,
    ledger: Book,
    recheck: Recheck,
    metrics: LedgerMetrics,
    /// Since the act in which it heals.
    leader: Mutex<Option<Leader>>,
    /// What the pages show that stay up afterwards.
    control: Control,
    drain: Drain,
    serving: [JoinHandle<Served>; 2],
}

/// One answer.
struct Once {
    response: Response,
    images: Vec<ToldImage>,
    took: Duration,
}

impl Stage {
    /// Builds the world, adds what the stories need, and starts the server on a free port.
    ///
    /// # Errors
    /// If a socket, a certificate or a file cannot be made.
    pub async fn build() -> Result<Self, StoryError> {
        let demo = seed::demo().await?;
        furnish(&demo)?;
        let now = Timestamp::now();
        let configuration = settings::text(&demo, now)?;
        let loaded = config::parse(&configuration, "demo.yaml", Files::Check, now)
            .map_err(|problems| StoryError::Settings { problems })?;
        let mut page = Page::default();
        let observatory = Arc::new(Observatory::new(&loaded.settings, &mut page));
        let counted = crate::admission::Metrics::register(&mut page);
        let settings = Arc::new(ArcSwap::from_pointee(loaded.settings));
        let ledger_metrics = LedgerMetrics::register(&mut page);
        let recorder = Recorder::new(ledger_metrics.clone(), Timestamp::now);
        let labels: LabelsOf = Arc::new(|namespace| {
            let name = (NAMESPACE_NAME.to_owned(), namespace.to_owned());
            Box::pin(std::future::ready(Arc::new(Labels::from([name]))))
        });
        let recheck = recheck(settings.clone(), observatory.clone(), labels.clone(), Timestamp::now);
        let doors = Doors::new(settings.clone(), observatory.clone(), counted).labels(labels);
        let recent = doors.recent();
        let routers = doors.own_namespace("landfall").recorder(recorder.clone()).routers();
        let (metrics, conditions) = (ServerMetrics::register(&mut page), Conditions::register(&mut page));
        let authority = demo.world.authority();
        let identity = authority.issue(&["127.0.0.1", "localhost"], Validity::Current)?;
        let serving = ServingCertificate::new(metrics.clone());
        serving.install(Pair::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes())?);
        let tls = Arc::new(server_config(serving, TlsVersions::default(), Callers::default())?);
        let socket = |source| StoryError::Socket { source };
        let drain = Drain::default();
        let open = async |app, limits, metrics| -> Result<_, StoryError> {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(socket)?;
            let address = tcp.local_addr().map_err(socket)?;
            let limits = Limits { finish: Duration::from_secs(1), ..limits };
            let (transport, drain) = (Transport::Tls(tls.clone()), drain.clone());
            let listener = Listener { tcp, transport, app, limits, drain, metrics };
            Ok((format!("https://{address}"), tokio::spawn(listener.serve())))
        };
        let (second, at_second) = open(routers.validate, Limits::validate(), metrics.validate()).await?;
        let (first, at_first) = open(routers.mutate, Limits::default(), metrics.clone()).await?;
        let ledger = Book::default();
        let status = Status {
            conditions,
            metrics: Arc::new(page),
            observatory: observatory.clone(),
            settings: settings.clone(),
            recent,
            gaps: gaps_of(&ledger, &recorder, &recheck),
            replica: "demo".into(),
            clock: Timestamp::now,
        };
        let unusable = |source| StoryError::Door { source };
        let ca = reqwest::Certificate::from_pem(authority.pem().as_bytes()).map_err(unusable)?;
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .http1_only()
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(unusable)?;
        Ok(Self {
            demo,
            configuration,
            url: format!("{first}{MUTATE}"),
            validate: format!("{second}{VALIDATE}"),
            settings,
            observatory,
            client,
            recorder,
            ledger,
            recheck,
            metrics: ledger_metrics,
            leader: Mutex::default(),
            control: Control { status, metrics },
            drain,
            serving: [at_first, at_second],
        })
    }

    /// The address of the mutating door.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file with the authority to trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.demo.world.ca_file()
    }

    /// The ledger: what the doors have recorded so far, and how each image that is still lacking stands now.
    pub async fn ledger(&self) -> Vec<(GapKey, Record)> {
        entries(&self.ledger, &self.recorder, &self.recheck).await
    }

    /// Serves these pages for as long as it is polled: the world stays up, and Pods go on being created.
    pub async fn serve(&self, pages: Pages) {
        let Demo { fra, ams, edge, .. } = &self.demo;
        let registries = [("Frankfurt", fra), ("Amsterdam", ams), ("edge", edge)];
        pages.serve(&self.control, registries, (&self.client, &self.url)).await;
    }

    /// Ends the server, as a rollout would.
    pub async fn close(self) {
        drop((self.client, self.leader, self.control));
        self.drain.begin();
        self.drain.close();
        for serving in self.serving {
            // It ends by itself. A panic in it has shown in the answers.
            let _ = serving.await;
        }
    }

    /// Plays an act: its events, then its stories.
    ///
    /// # Errors
    /// If the door does not answer, or does not follow the protocol.
    pub async fn play(&self, act: Act) -> Result<ToldAct, StoryError> {
        let Act { title, narration, events, stories } = act;
        // Landfall needs time to notice events. Without events, the first answer must be right.
        let patience = if events.is_empty() { Duration::ZERO } else { PATIENCE };
        let began = Instant::now();
        for event in events {
            self.happen(event).await?;
        }
        let mut told = Vec::new();
        for story in stories {
            told.push(self.tell(&story, began, patience).await?);
        }
        Ok(ToldAct { title, narration, stories: told })
    }

    /// Plays one story. Until `patience` is over, an unexpected answer is asked for again.
    ///
    /// # Errors
    /// If the door does not answer, or does not follow the protocol.
    pub async fn tell(&self, story: &Story, began: Instant, patience: Duration) -> Result<Told, StoryError> {
        let Story { name, about, sent, admission, way, before, says } = story;
        let review = sent.review(name)?;
        let (door, url) = match way {
            Way::BothDoors => (MUTATE, self.url.clone()),
            Way::SecondDoor => (VALIDATE, self.entries(&review).into_iter().next().unwrap_or_default()),
        };
        let body = sent.body(&review);
        for _ in 0..*before {
            self.ask(&url, &review, &body).await?;
        }
        let mut asked = 0_u32;
        loop {
            let Once { response, images, took } = self.ask(&url, &review, &body).await?;
            asked += 1;
            let second = match way {
                Way::BothDoors => self.second(&review, &response).await?,
                Way::SecondDoor => None,
            };
            let actual =
                Ending::of(if response.allowed { Admission::Allowed } else { Admission::Denied }, images);
            // Expected anew each time: the digests of tags are read from the registries.
            let expected = self.foretold(sent, *admission);
            let mut differences = expected.differences(&actual);
            if field(&review, "/request/uid") != response.uid.as_str() {
                differences.push(format!("the answer is for another review, {}", response.uid));
            }
            differences.extend(response.said_otherwise(*says));
            if let Some(Second { message: Some(message), .. }) = &second {
                differences.push(format!("the second door denies what the first one let in: {message}"));
            }
            if !differences.is_empty() && began.elapsed() < patience {
                sleep(AGAIN).await;
                continue;
            }
            return Ok(Told {
                story: name,
                about,
                door,
                second,
                pod: pod(&review),
                as_told: differences.is_empty(),
                differences,
                expected,
                actual,
                says: *says,
                message: response.message().map(str::to_owned),
                patch: response.patch()?,
                uid: response.uid,
                warnings: response.warnings,
                audit_annotations: response.audit_annotations,
                ms: millis(took),
                noticed_after_ms: (asked > 1).then(|| millis(began.elapsed())),
            });
        }
    }

    /// The entries of the validating webhook that select the namespace of a review, by their URLs.
    fn entries(&self, review: &Value) -> Vec<String> {
        let namespace = field(review, "/request/namespace").as_str().unwrap_or_default();
        let labels = Labels::from([(NAMESPACE_NAME.to_owned(), namespace.to_owned())]);
        let regime = self.settings.load().regime(&labels, Timestamp::now());
        let mut ids: Vec<_> = regime.enforcing.iter().map(|policy| policy.selector.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| format!("{}/{id}", self.validate)).collect()
    }

    /// Sends what became of an admitted Pod to the second door, as an API server would. `None`: nobody is called for it.
    async fn second(&self, review: &Value, first: &Response) -> Result<Option<Second>, StoryError> {
        if !first.allowed {
            return Ok(None);
        }
        let mut became = review.clone();
        if let Some(pod) = became.pointer_mut("/request/object") {
            *pod = first.became(review)?;
        }
        let body = became.to_string();
        let mut second = None;
        for url in self.entries(review) {
            let Once { response, .. } = self.ask(&url, &became, &body).await?;
            let admission = if response.allowed { Admission::Allowed } else { Admission::Denied };
            second = Some(Second { admission, message: response.message().map(str::to_owned) });
            if !response.allowed {
                break;
            }
        }
        Ok(second)
    }

    async fn ask(&self, url: &str, review: &Value, body: &str) -> Result<Once, StoryError> {
        let door = |source| StoryError::Door { source };
        let request = self.client.post(format!("{url}?timeout=5s"));
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let began = Instant::now();
        let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(door)?;
        let answer = answer.bytes().await.map_err(door)?;
        let took = began.elapsed();
        let response = Response::read(&answer)?;
        let images = response.images(review)?;
        Ok(Once { response, images, took })
    }

    fn who(&self, who: Who) -> &Embedded {
        match who {
            Who::Fra => &self.demo.fra,
            Who::Ams => &self.demo.ams,
        }
    }

    async fn happen(&self, event: Event) -> Result<(), StoryError> {
        match event {
            Event::Down(who) => self.who(who).down().await,
            Event::Freezes(who) => self.who(who).freeze().await,
            Event::Up(who) => self.who(who).up().await,
            Event::Suffers(who, fault) => {
                let mut faults = self.who(who).faults();
                faults.clear();
                faults.add(Scope::Everything, fault);
            }
            Event::LosesDatabase(who) => self.who(who).store().database = Reachable::Down,
            Event::Recovers(who) => {
                self.who(who).faults().clear();
                self.who(who).store().database = Reachable::Up;
            }
            Event::Arrives(name, content) => {
                let mut store = self.demo.ams.store();
                let digest = store.push(name.repository, name.tag, &Content::image(content));
                store.set_scan(&digest, Scan::clean());
            }
            Event::ScansAll => self.demo.ams.store().scan_all(),
            Event::LosesLayers(name) => self.closing().lose_layers(name).await,
            Event::Heals(images) => {
                let leader = self.closing().heal(&images, &self.ledger().await).await?;
                *self.leader.lock().await = Some(leader);
            }
            Event::IsCopied(name) => self.closing().copy(name).await?,
            Event::Scanned(name) => {
                let mut store = self.demo.ams.store();
                if let Some(digest) = store.digest(name.repository, name.tag) {
                    store.set_scan(&digest, Scan::clean());
                }
            }
        }
        Ok(())
    }

    fn closing(&self) -> Closing<'_> {
        let Self { demo, settings, observatory, recheck, metrics, .. } = self;
        Closing { demo, settings, observatory, recheck, metrics }
    }

    /// The expected ending, with the digests that the registries hold now.
    fn foretold(&self, sent: &Sent, admission: Admission) -> Ending {
        match sent {
            Sent::Recorded { reasons, .. } => {
                let reasons = reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
                Ending { admission, images: None, reasons }
            }
            Sent::Pod(pod) => {
                let judged = |(_, image): &(usize, &Image)| !pod.is_update() || image.was.is_some();
                let images = pod.images.iter().enumerate().filter(judged);
                let images = images.map(|(n, image)| self.foretold_image(pod.slot(n), image)).collect();
                Ending::of(admission, images)
            }
        }
    }

    fn foretold_image(&self, slot: String, image: &Image) -> ToldImage {
        let path = image.written.split_once('/').map_or("", |(_, path)| path);
        let (place, is) = match image.becomes {
            Becomes::AsWritten => (None, image.written.clone()),
            Becomes::Pinned(place) => (Some(place), self.pinned(place, path)),
            Becomes::Digest(place) => {
                let tag = path.split_once(':').map_or("", |(_, tag)| tag);
                (Some(place), self.pinned(place, path).replace(&format!(":{tag}@"), "@"))
            }
            Becomes::Below(place, project) => (Some(place), self.pinned(place, &format!("{project}/{path}"))),
            Becomes::Unpinned(place) => (Some(place), format!("{}/{path}", host(place))),
        };
        let found = |(finding, at): &(&str, &str)| Found {
            finding: (*finding).into(),
            place: Some(*at).filter(|at| !at.is_empty()).map(Into::into),
        };
        ToldImage {
            slot,
            was: image.written.clone(),
            is,
            reason: Some(image.reason.into()),
            place: place.map(Into::into),
            findings: image.findings.iter().map(found).collect(),
        }
    }

    /// `host/path:tag@digest`, with the digest that the registry holds under that tag.
    fn pinned(&self, place: &str, path: &str) -> String {
        let registry = if place == "edge" { &self.demo.edge } else { &self.demo.ams };
        let digest =
            path.split_once(':').and_then(|(repository, tag)| registry.store().digest(repository, tag));
        let digest = digest.map_or_else(|| "nothing there".to_owned(), |digest| digest.to_string());
        format!("{}/{path}@{digest}", host(place))
    }
}

fn host(place: &str) -> &'static str {
    if place == "edge" { "registry.edge:5000" } else { "harbor.ams.example.com" }
}

/// The Pod of a review, `namespace/name`, as far as it has a name yet.
fn pod(review: &Value) -> String {
    let text = |pointer| field(review, pointer).as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let generated = || text("/request/object/metadata/generateName").map(|name| name + "…");
    let name = text("/request/object/metadata/name").or_else(generated);
    format!("{}/{}", text("/request/namespace").unwrap_or_default(), name.unwrap_or_default())
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

/// What the stories need beyond the seed.
fn furnish(demo: &Demo) -> Result<(), StoryError> {
    let reviews = script::recordings();
    for registry in [&demo.fra, &demo.ams] {
        let mut store = registry.store();
        let seeded =
            [seed::PRESENT, seed::MULTI_ARCH].map(|name| (name, store.digest(name.repository, name.tag)));
        seed::hold_reviewed(&mut store, "harbor.fra.example.com", &reviews)
            .map_err(|source| StoryError::Recording { source })?;
        // The recordings name some of the seed's images: these are not changed.
        for (name, digest) in seeded {
            if let Some(digest) = digest {
                store.tag(name.repository, name.tag, &digest);
            }
        }
    }
    let push = |at: &Embedded, repository: &str, name: Named| {
        let content = Content::image(&format!("{} {}", name.repository, name.tag));
        let mut store = at.store();
        let digest = store.push(repository, name.tag, &content);
        store.set_scan(&digest, Scan::clean());
    };
    for name in
        script::FLEET.into_iter().chain([script::PILOT, script::TRIAL, script::ARCHIVED, script::NIGHTLY])
    {
        push(&demo.fra, name.repository, name);
        push(&demo.ams, name.repository, name);
    }
    for at in [&demo.fra, &demo.ams] {
        let model = Content::artifact("a model", "application/vnd.cncf.model.config.v1+json");
        at.store().push(script::MODEL.repository, script::MODEL.tag, &model);
    }
    push(&demo.fra, script::ROSTER.repository, script::ROSTER);
    push(&demo.ams, "lists/roster", Named { repository: "production/guests/roster", ..script::ROSTER });
    for (name, platform, role) in script::HIDING {
        let content = Content::index_hiding(name.repository, (platform, role));
        for (registry, of_hidden) in [(&demo.fra, Scan::clean()), (&demo.ams, Scan::NotScanned)] {
            let mut store = registry.store();
            let index = store.push(name.repository, name.tag, &content);
            store.set_scan(&index, Scan::clean());
            if let Some(hidden) = content.child(platform) {
                store.set_scan(&hidden.digest, of_hidden);
            }
        }
    }
    for name in [script::UNSEEN, script::UNCOPIED, script::TORN] {
        push(&demo.fra, name.repository, name);
    }
    push(&demo.ams, script::TORN.repository, script::TORN);
    let unseen = Content::image(&format!("{} {}", script::UNSEEN.repository, script::UNSEEN.tag));
    demo.ams.store().push(script::UNSEEN.repository, script::UNSEEN.tag, &unseen);
    let rule = ReplicationRule::to("to-amsterdam", &demo.ams.url()).filter("name", "production/quay/**");
    let rule = demo.fra.store().add_rule(rule);
    demo.fra.replicates(rule, &demo.ams);
    push(&demo.fra, script::TILL.repository, script::TILL);
    push(&demo.edge, script::TILL.repository, script::TILL);
    push(&demo.fra, script::VENDORED.repository, script::VENDORED);
    // What a proxy-cache project caches after the first request.
    push(&demo.ams, &format!("cache/{}", script::VENDORED.repository), script::VENDORED);
    Ok(())
}
