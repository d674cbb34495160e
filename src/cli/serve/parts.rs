//! The composition root of the server: from sockets and files to everything that runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::MissedTickBehavior;

use super::certificate::Source;
use super::{namespaces, probe};
use crate::admission::{Doors, Metrics};
use crate::cluster::{Cluster, Namespaces};
use crate::config::watch::{Condition as Look, Handle, Watch};
use crate::config::{self, Files, Problem, Problems};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::server::{
    CallerFile, Callers, CertificateFiles, Condition, ConditionName, Conditions, Drain, Limits, Listener,
    Served, ServerMetrics, ServingCertificate, TlsVersions, admin, server_config,
};

/// How often the configuration is looked at. It is a few kilobytes; the kubelet takes a minute to bring a new one.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// What a server is made of. The sockets are bound already, so that the caller knows their ports.
#[derive(Debug)]
pub struct Parts {
    /// The configuration file.
    pub config: PathBuf,
    /// For the API server.
    pub listener: TcpListener,
    /// For the kubelet and Prometheus.
    pub admin: TcpListener,
    /// What we prove ourselves with.
    pub certificate: Source,
    /// Which TLS is spoken.
    pub versions: TlsVersions,
    /// Who may call; `None`: anyone.
    pub callers: Option<CallerFile>,
    /// Our own namespace.
    pub own_namespace: Option<Box<str>>,
    /// The cluster whose namespaces policies select; `None`: of a namespace only the name is known.
    pub cluster: Option<Cluster>,
    /// How long the news takes to spread that we leave.
    pub propagation: Duration,
}

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// It never began: the configuration cannot be used.
    Refused(Problems),
    /// It left as it was asked to.
    Left(Served),
}

impl Parts {
    /// Serves until `signal` asks it to leave, and then finishes what is in flight. Long-lived tasks are spawned
    /// here, and end with it.
    ///
    /// # Errors
    /// Where TLS cannot be set up, or one of the tasks died: whoever started us should start us again.
    pub async fn run(
        self,
        signal: impl Future<Output = &'static str> + Send + 'static,
    ) -> anyhow::Result<Ended> {
        let Self {
            config,
            listener,
            admin,
            certificate,
            versions,
            callers,
            own_namespace,
            cluster,
            propagation,
        } = self;
        let watch = match spawn_blocking(|| Watch::open(config, Files::Check, Timestamp::now)).await? {
            Ok(watch) => watch,
            Err(problems) => return Ok(Ended::Refused(problems)),
        };
        let settings = watch.handle().snapshot().settings.clone();
        let mut page = Page::default();
        let (metrics, conditions) = (ServerMetrics::register(&mut page), Conditions::register(&mut page));
        let counted = Metrics::register(&mut page);
        let configured = config::Metrics::register(&mut page);
        configured.show(&watch.handle());
        let certificate = certificate.source(cluster.as_ref(), &mut page)?;
        let (first, mut page) = (settings.clone(), page);
        let (observatory, page) = spawn_blocking(move || {
            let observatory = Observatory::new(&first, &mut page);
            (Arc::new(observatory), Arc::new(page))
        })
        .await?;
        let settings = Arc::new(ArcSwap::new(settings));
        let drain = Drain::default();

        let namespaces = cluster.as_ref().map_or_else(Namespaces::nowhere, Cluster::namespaces);
        let serving = ServingCertificate::new(metrics.clone());
        conditions.set(ConditionName::Certificate, certificate.first(&serving).await);
        conditions.set(ConditionName::Settings, standing(&watch.handle(), &observatory));
        let may_call = callers.as_ref().map_or(Callers::Anyone, CallerFile::callers);
        let tls = server_config(serving.clone(), versions, may_call)?;
        let watched = namespaces.clone();
        let mut doors = Doors::new(settings.clone(), observatory.clone(), counted)
            .labels(Arc::new(move |namespace| namespaces.labels(namespace)));
        if let Some(own) = own_namespace {
            doors = doors.own_namespace(own);
        }
        let behind = doors.tasks();

        let admin_address = admin.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(probe::watch(observatory.clone(), conditions.clone()));
        let (all, way_out) = (conditions.clone(), drain.clone());
        tasks.spawn(async move { certificate.keep(&serving, &all, &way_out).await });
        if let Some(callers) = callers {
            let all = conditions.clone();
            tasks.spawn(async move { callers.watch(&all, CertificateFiles::EVERY).await });
        }
        tasks.spawn(namespaces::keep(watched, conditions.clone()));
        tasks.spawn(reload(watch, configured, settings, observatory.clone(), conditions.clone()));
        let all = conditions.clone();
        tasks.spawn(async move {
            if let Err(error) = admin::serve(admin, all, page).await {
                tracing::error!(%error, "the admin port is gone");
            }
        });
        let (way_out, gauge) = (drain.clone(), metrics.clone());
        tasks.spawn(async move { way_out.conduct(signal, propagation, &conditions, &gauge).await });

        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %listener.local_addr()?,
            admin.listen = %admin_address,
            "serving"
        );
        let listener = Listener {
            tcp: listener,
            tls,
            app: doors.router(),
            limits: Limits::default(),
            drain: drain.clone(),
            metrics,
        };
        let served = supervise(listener, &mut tasks, &drain).await?;
        behind.close();
        behind.wait().await;
        tasks.shutdown().await;
        observatory.close().await;
        Ok(Ended::Left(served))
    }
}

/// Serves, and watches over the tasks: one that dies takes the server with it, for a certificate that nobody watches
/// ends some night.
async fn supervise(listener: Listener, tasks: &mut JoinSet<()>, drain: &Drain) -> anyhow::Result<Served> {
    let mut serving = std::pin::pin!(listener.serve());
    let mut died = None;
    loop {
        // Both arms may lose the race: `serving` is polled on, and a task that ended stays in the set.
        tokio::select! {
            served = &mut serving => return match died {
                None => Ok(served),
                Some(error) => Err(error).context("a task of the server died"),
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a task of the server died; leaving");
                died = Some(error);
                drain.close();
            },
        }
    }
}

/// Brings every new snapshot into force: to the Observatory first, so that it knows each registry that a door may ask about.
async fn reload(
    mut watch: Watch,
    metrics: config::Metrics,
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    conditions: Conditions,
) {
    let handle = watch.handle();
    let mut adopted = handle.snapshot().generation;
    let mut ticks = tokio::time::interval(RELOAD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        watch.poll().await;
        let snapshot = handle.snapshot();
        if adopted != snapshot.generation {
            let (observatory, next) = (observatory.clone(), snapshot.settings.clone());
            if let Err(error) = spawn_blocking(move || observatory.adopt(&next)).await {
                tracing::error!(%error, "new settings were not adopted");
                continue;
            }
            settings.store(snapshot.settings.clone());
        } else if !observatory.problems().is_empty() {
            // A CA file that was missing may be there by now.
            let observatory = observatory.clone();
            if let Err(error) = spawn_blocking(move || observatory.retry_unusable()).await {
                tracing::error!(%error, "unusable registries were not retried");
            }
        }
        if adopted != snapshot.generation {
            adopted = snapshot.generation;
            tracing::info!(settings.generation = adopted, "new settings are in force");
        }
        metrics.show(&handle);
        conditions.set(ConditionName::Settings, standing(&handle, &observatory));
    }
}

/// How the configuration stands, in a sentence.
fn standing(handle: &Handle, observatory: &Observatory) -> Condition {
    let snapshot = handle.snapshot();
    let in_force = format!("generation {}, loaded at {}", snapshot.generation, snapshot.loaded);
    match &*handle.condition() {
        Look::Refused { problems, since } => {
            Condition::degraded(format!("{in_force}; since {since} the file is refused: {}", first(problems)))
        }
        Look::InForce(_) => {
            let problems = observatory.problems();
            let unusable: Vec<String> =
                problems.iter().map(|problem| format!("{}: {}", problem.registry, problem.error)).collect();
            match unusable.as_slice() {
                [] => Condition::good(in_force),
                unusable => {
                    Condition::degraded(format!("{in_force}; cannot be asked: {}", unusable.join("; ")))
                }
            }
        }
    }
}

/// The first error, and how many more there are: a condition is one line, `landfall check` names them all.
fn first(problems: &Problems) -> String {
    let mut errors = problems.errors();
    let Some(Problem { line, path, message, .. }) = errors.next() else { return String::new() };
    let place = if *line > 0 { format!("line {line}: ") } else { String::new() };
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more: see `landfall check`)"),
    };
    format!("{place}{path}{message}{more}")
}
