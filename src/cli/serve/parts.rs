//! The composition of the server: from sockets and files to everything that runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::certificate::Source;
use super::leadership::lead;
use super::ledger::Ledger;
use super::policies::Objects;
use super::tasks::Tasks;
use super::{entries, hooks, inventory, namespaces, probe, pull_secrets, rules, status, sweep};
use crate::admission::{Doors, Metrics, OnLoop, PodLoop};
use crate::cluster::{Cluster, Event, EventReason, EventRecorder, Namespaces, ObjectRef, Severity};
use crate::config::watch::Watch;
use crate::config::{self, Files, Problems};
use crate::controllers::entries::{self as entry, EntryKeeper, Report};
use crate::controllers::inventory::{InventoryKeeper, InventoryMetrics};
use crate::controllers::leader::{Candidate, LeaderMetrics};
use crate::controllers::notifications::NotificationMetrics;
use crate::controllers::policies::{PolicyMetrics, ReporterNames};
use crate::controllers::pull_secrets::PullSecretMetrics;
use crate::controllers::replication::ReplicationMetrics;
use crate::controllers::reports::Reporter;
use crate::controllers::settings::{SettingsController, Standing};
use crate::controllers::sweep::{SweepMetrics, Terms};
use crate::evidence::Observatory;
use crate::ledger::LedgerMetrics;
use crate::server::{
    CallerFile, Callers, CertificateFiles, Condition, ConditionName, Conditions, Drain, Limits, Listener,
    Served, ServerMetrics, ServingCertificate, Status, TlsVersions, Transport, admin, server_config,
};

/// What a server is made of. The sockets are bound already, so that the caller knows their ports.
#[derive(Debug)]
pub struct Parts {
    /// The configuration file.
    pub config: PathBuf,
    /// For the API server: the mutating door.
    pub listener: TcpListener,
    /// For the API server: the validating door.
    pub validate: TcpListener,
    /// For the kubelet and Prometheus.
    pub admin: TcpListener,
    /// For Harbors that notify us; `None`: none can.
    pub hooks: Option<TcpListener>,
    /// Where the certificate comes from.
    pub certificate: Source,
    /// The objects of the validating webhook; `None`: its entries are not kept.
    pub entries: Option<entry::Names>,
    /// Which versions of TLS are spoken.
    pub versions: TlsVersions,
    /// Who may call; `None`: anyone.
    pub callers: Option<CallerFile>,
    /// Our own namespace.
    pub own_namespace: Option<Box<str>>,
    /// The cluster; `None`: only the names of namespaces are known, and this replica never leads.
    pub cluster: Option<Cluster>,
    /// The Lease that this replica wants; `None`: it never leads.
    pub candidate: Option<Candidate>,
    /// The name of our Service and of our webhook configurations, if LandingPolicies are read; `None`: the file alone counts.
    pub policies: Option<String>,
    /// How and how often the leader looks at what runs; `None`: never.
    pub sweep: Option<Terms>,
    /// How long closed gaps are kept.
    pub gap_retention: Duration,
    /// How long it takes until others know that we leave.
    pub propagation: Duration,
}

/// How the server ended.
#[derive(Debug)]
pub enum Ended {
    /// It did not start, because the configuration cannot be used.
    Refused(Problems),
    /// It left when it was asked to.
    Left(Served),
}

/// The metrics and conditions that every server has.
struct Instruments {
    server: ServerMetrics,
    conditions: Conditions,
    admission: Metrics,
    config: config::Metrics,
    leader: LeaderMetrics,
    entries: entry::Metrics,
    policies: PolicyMetrics,
    sweep: SweepMetrics,
    inventory: InventoryMetrics,
    ledger: LedgerMetrics,
    replication: ReplicationMetrics,
    notifications: NotificationMetrics,
    pull_secrets: PullSecretMetrics,
}

impl Instruments {
    fn register(page: &mut Page) -> Self {
        Self {
            server: ServerMetrics::register(page),
            conditions: Conditions::register(page),
            admission: Metrics::register(page),
            config: config::Metrics::register(page),
            leader: LeaderMetrics::register(page),
            entries: entry::Metrics::register(page),
            policies: PolicyMetrics::register(page),
            sweep: SweepMetrics::register(page),
            inventory: InventoryMetrics::register(page),
            ledger: LedgerMetrics::register(page),
            replication: ReplicationMetrics::register(page),
            notifications: NotificationMetrics::register(page),
            pull_secrets: PullSecretMetrics::register(page),
        }
    }
}

impl Parts {
    /// Serves until `signal` asks it to leave, then finishes what is in flight. It spawns all long-lived tasks and
    /// outlives them.
    ///
    /// # Errors
    /// If TLS cannot be set up, or a task ends too early. The process should be started again.
    pub async fn run(
        self,
        signal: impl Future<Output = &'static str> + Send + 'static,
    ) -> anyhow::Result<Ended> {
        let Self {
            config,
            listener,
            validate,
            admin,
            hooks,
            certificate,
            entries,
            versions,
            callers,
            own_namespace,
            cluster,
            candidate,
            policies,
            sweep,
            gap_retention,
            propagation,
        } = self;
        let config = match spawn_blocking(|| Watch::open(config, Files::Check, Timestamp::now)).await? {
            Ok(watch) => watch,
            Err(problems) => return Ok(Ended::Refused(problems)),
        };
        let (mut page, mut tasks, drain) = (Page::default(), Tasks::default(), Drain::default());
        let instruments = Instruments::register(&mut page);
        let conditions = &instruments.conditions;
        let cluster = cluster.as_ref();

        let pod = candidate.as_ref().map(|candidate| (candidate.namespace.clone(), candidate.pod.clone()));
        let pod_name = pod.as_ref().map(|(_, pod)| pod.clone());
        let leadership = cluster
            .zip(candidate)
            .map(|(cluster, candidate)| lead(cluster, &candidate, &instruments.leader, &mut tasks, &drain));
        let certificate = certificate.source(cluster, leadership.as_ref(), &mut page)?;
        let (observatory, page) = observe(&config, page).await?;
        let file = config.handle();
        let namespaces = cluster.map_or_else(Namespaces::nowhere, Cluster::namespaces);
        let ledger = Ledger::of(cluster, leadership.as_ref(), policies.is_some(), instruments.ledger);
        let names =
            policies.zip(pod).map(|(release, (namespace, pod))| ReporterNames { namespace, release, pod });
        let surveys = watch::Sender::new(None);
        let kept = cluster.zip(leadership.as_ref()).zip(names.as_ref());
        let kept = kept.map(|((cluster, leadership), ReporterNames { namespace, release, .. })| {
            let (observatory, leading) = (observatory.clone(), leadership.leading.clone());
            let metrics = instruments.inventory;
            let names = (namespace.as_str(), release.as_str());
            InventoryKeeper::new(
                cluster,
                names,
                observatory,
                leading,
                surveys.subscribe(),
                metrics,
                Timestamp::now,
            )
        });
        let objects = Objects::of(names, cluster, leadership.as_ref(), &file, instruments.policies);
        let settings =
            SettingsController::new(config, objects.policies(), observatory.clone(), instruments.config);
        let is_ready = {
            let conditions = conditions.clone();
            move || conditions.is_ready()
        };
        let replicas = entries.clone();
        let keeper = cluster.zip(entries).zip(leadership.as_ref()).map(|((cluster, names), leadership)| {
            let (leading, events) = (leadership.leading.clone(), leadership.events.clone());
            let (settings, metrics) = (settings.settings(), instruments.entries);
            EntryKeeper::new(cluster, names, settings, leading, is_ready, events, metrics)
        });
        let serving = ServingCertificate::new(instruments.server.clone());
        let certificates = hooks::Certificates { serving: serving.clone(), authorities: Arc::default() };
        conditions.set(ConditionName::Settings, condition(settings.standing()));
        conditions.set(ConditionName::Certificate, certificate.first(&serving).await);

        let may_call = callers.as_ref().map_or(Callers::Anyone, CallerFile::callers);
        let tls = server_config(serving.clone(), versions, may_call)?;
        let (told, entries) = watch::channel(Report::default());
        let counted =
            objects.spawn(&mut tasks, settings.settings(), entries, &namespaces, conditions.clone());
        let labels = namespaces.clone();
        let mut doors = Doors::new(settings.settings(), observatory.clone(), instruments.admission)
            .labels(Arc::new(move |namespace| labels.labels(namespace)))
            .on_denied(counted.on_denied())
            .recorder(ledger.recorder());
        let may_sweep = cluster.zip(leadership.as_ref()).zip(own_namespace.as_deref()).zip(sweep);
        let surveyed = surveys.subscribe();
        if let Some((at, own)) = cluster.zip(leadership.as_ref()).zip(own_namespace.as_deref()) {
            let shown = (instruments.pull_secrets, conditions.clone());
            let (rules, surveys) = ((settings.settings(), own), surveys.subscribe());
            doors = doors.on_pull_secret(pull_secrets::spawn(
                &mut tasks,
                at,
                &namespaces,
                &observatory,
                rules,
                surveys,
                shown,
            ));
        }
        if let Some((cluster, leadership)) = cluster.zip(leadership.as_ref()) {
            let (surveys, leading) = (surveys.subscribe(), leadership.leading.clone());
            tasks.spawn("reports", Reporter::new(cluster, settings.settings(), surveys, leading).run());
        }
        if let Some(((at, own), terms)) = may_sweep {
            let (rules, terms) =
                ((settings.settings(), own), (terms, (instruments.sweep, instruments.replication.clone())));
            sweep::spawn(&mut tasks, at, &namespaces, &observatory, rules, terms, surveys);
        }
        if let Some(own) = own_namespace {
            doors = doors.own_namespace(own);
        }
        if let Some(leadership) = &leadership {
            doors = doors.on_loop(tell_owner(leadership.events.clone()));
        }
        let rules = match &leadership {
            Some(leadership) => {
                let (settings, metrics) = (settings.settings(), instruments.replication);
                rules::spawn(&mut tasks, leadership, settings, observatory.clone(), metrics)
            }
            None => watch::channel(None).1,
        };
        let recorded = ledger.spawn(
            &mut tasks,
            settings.settings(),
            observatory.clone(),
            &namespaces,
            rules,
            gap_retention.try_into()?,
        );
        if let Some(keeper) = &recorded.keeper {
            tasks.spawn("sweep and ledger", sweep::tell(keeper.clone(), surveyed));
        }
        let hooks = match hooks {
            Some(tcp) => {
                let behind = hooks::Behind {
                    settings: settings.settings(),
                    observatory: observatory.clone(),
                    keeper: recorded.keeper.clone(),
                    relay: hooks::relay(cluster, replicas.as_ref(), pod_name.as_deref(), &certificates),
                    metrics: instruments.notifications,
                };
                let tls = (serving.clone(), versions);
                let counted = (&drain, &instruments.server);
                Some(hooks::open(tcp, behind, &mut tasks, conditions.clone(), tls, counted).await?)
            }
            None => None,
        };
        let (behind_answers, page) = (doors.tasks(), Arc::new(page));
        let status = Status {
            conditions: conditions.clone(),
            metrics: page,
            observatory: observatory.clone(),
            settings: settings.settings(),
            recent: doors.recent(),
            gaps: status::gaps_of(cluster),
            replica: pod_name.as_deref().unwrap_or("without a name").into(),
            clock: Timestamp::now,
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %listener.local_addr()?,
            validate.listen = %validate.local_addr()?,
            admin.listen = %admin.local_addr()?,
            "serving"
        );

        let (in_force, selectors) = (settings.settings(), doors.selectors());
        let shown = show_settings(conditions.clone());
        let show = move |standing| {
            selectors.notice(&in_force.load());
            shown(standing);
        };
        tasks.spawn("settings", settings.run(show));
        tasks.spawn("registries", probe::watch(observatory.clone(), conditions.clone()));
        tasks.spawn("inventory", inventory::keep(kept, conditions.clone()));
        tasks.spawn("namespaces", namespaces::keep(namespaces, conditions.clone()));
        tasks.spawn(
            "certificate",
            certificate.keep(serving, certificates.authorities, conditions.clone(), drain.clone()),
        );
        tasks.spawn("entries", entries::keep(keeper, told, conditions.clone(), drain.clone()));
        if let Some(callers) = callers {
            tasks.spawn("callers", watch_callers(callers, conditions.clone()));
        }
        tasks.spawn("admin", answer_admin(admin, status, instruments.server.clone()));
        let leaving = (drain.clone(), conditions.clone(), instruments.server.clone());
        tasks.spawn("drain", leave(signal, propagation, leaving));

        let (routers, tls) = (doors.routers(), Arc::new(tls));
        let second = Listener {
            tcp: validate,
            transport: Transport::Tls(tls.clone()),
            app: routers.validate,
            limits: Limits::validate(),
            drain: drain.clone(),
            metrics: instruments.server.validate(),
        };
        let first = Listener {
            tcp: listener,
            transport: Transport::Tls(tls),
            app: routers.mutate,
            limits: Limits::default(),
            drain: drain.clone(),
            metrics: instruments.server,
        };
        let serving = async {
            let (first, second, hooks) = tokio::join!(first.serve(), second.serve(), hooks::serve(hooks));
            Served { abandoned: first.abandoned + second.abandoned + hooks.abandoned }
        };
        let served = tasks.supervise(serving, &drain).await?;
        behind_answers.close();
        behind_answers.wait().await;
        counted.fold().await;
        recorded.fold().await;
        observatory.close().await;
        Ok(Ended::Left(served))
    }
}

/// Builds the clients of all registries. It reads files, so it runs on a thread that may block.
async fn observe(config: &Watch, mut page: Page) -> anyhow::Result<(Arc<Observatory>, Page)> {
    let settings = config.handle().snapshot().settings.clone();
    let built = spawn_blocking(move || (Arc::new(Observatory::new(&settings, &mut page)), page)).await;
    built.context("the clients of the registries cannot be set up")
}

/// Writes an Event about the owner of Pods that are created again and again.
fn tell_owner(events: EventRecorder) -> OnLoop {
    Arc::new(move |PodLoop { namespace, api_version, kind, name, uid, message }| {
        let about = ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: Some(namespace),
            name,
            uid,
        };
        events.record(Event {
            about,
            severity: Severity::Warning,
            reason: EventReason::PodsRecreated,
            message,
        });
    })
}

fn show_settings(conditions: Conditions) -> impl Fn(Standing) {
    move |standing| conditions.set(ConditionName::Settings, condition(standing))
}

fn condition(standing: Standing) -> Condition {
    match standing {
        Standing::Good(message) => Condition::good(message),
        Standing::Degraded(message) => Condition::degraded(message),
    }
}

async fn watch_callers(callers: CallerFile, conditions: Conditions) {
    callers.watch(&conditions, CertificateFiles::EVERY).await;
}

async fn answer_admin(admin: TcpListener, status: Status, metrics: ServerMetrics) {
    let Served { abandoned: _ } = admin::serve(admin, status, &metrics).await;
}

async fn leave(
    signal: impl Future<Output = &'static str>,
    propagation: Duration,
    (drain, conditions, metrics): (Drain, Conditions, ServerMetrics),
) {
    drain.conduct(signal, propagation, &conditions, &metrics).await;
}
