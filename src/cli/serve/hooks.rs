//! The port of notifications, where it is wanted.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use tokio::net::TcpListener;

use super::tasks::Tasks;
use crate::certs::Certificate;
use crate::cluster::Cluster;
use crate::controllers::entries::Names;
use crate::controllers::notifications::{Addresses, NotificationMetrics, Receiver, Relay, Trusted};
use crate::domain::error_chain::error_chain;
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::Keeper;
use crate::server::{
    Callers, Condition, ConditionName, Conditions, Drain, Limits, Listener, Served, ServerMetrics,
    ServingCertificate, TlsVersions, Transport, hooks, server_config,
};

/// The name of the port in our Service.
const PORT: &str = "hooks";

/// The certificate that is served, and the authorities that those of other replicas have.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) serving: Arc<ServingCertificate>,
    pub(super) authorities: Arc<ArcSwap<Vec<Certificate>>>,
}

impl Certificates {
    /// Who is believed to be a replica of ours: who shows a leaf of our authorities or, where others issue, the very
    /// certificate that we have, or one that its issuer has signed, if the chain has the issuer.
    fn trusted(&self) -> Trusted {
        let Self { serving, authorities } = self.clone();
        Arc::new(move || {
            let authorities = authorities.load();
            if authorities.is_empty() {
                return serving.chain();
            }
            authorities.iter().map(|authority| authority.der().clone()).collect()
        })
    }
}

/// The other replicas: those of our Service, where we know its name and our own.
pub(super) fn relay(
    cluster: Option<&Cluster>,
    names: Option<&Names>,
    pod: Option<&str>,
    certificates: &Certificates,
) -> Option<Relay> {
    let (cluster, names, pod) = (cluster?.clone(), names?.clone(), pod?.to_owned());
    let name = format!("{}.{}.svc", names.service, names.namespace);
    let addresses: Addresses = Box::new(move || {
        let (cluster, names, pod) = (cluster.clone(), names.clone(), pod.clone());
        async move {
            let found = cluster.endpoints_at(&names.namespace, &names.service, PORT).await;
            let found = found.map_err(|error| error_chain(&error))?;
            let others = found.into_iter().filter(|backend| backend.pod.as_ref() != Some(&pod));
            Ok(others.map(|backend| backend.address).collect::<Vec<SocketAddr>>())
        }
        .boxed()
    });
    Some(Relay::new(&name, addresses, certificates.trusted()))
}

/// What the port needs of the rest.
pub(super) struct Behind {
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) observatory: Arc<Observatory>,
    pub(super) keeper: Option<Keeper>,
    pub(super) relay: Option<Relay>,
    pub(super) metrics: NotificationMetrics,
}

/// Starts what works behind the port, and returns what listens at it. Anyone may call: a Harbor has no client certificate.
///
/// # Errors
/// If TLS cannot be set up.
pub(super) async fn open(
    tcp: TcpListener,
    behind: Behind,
    tasks: &mut Tasks,
    conditions: Conditions,
    (serving, versions): (Arc<ServingCertificate>, TlsVersions),
    (drain, metrics): (&Drain, &ServerMetrics),
) -> anyhow::Result<Listener> {
    let Behind { settings, observatory, keeper, relay, metrics: counted } = behind;
    let (receiver, worker) = Receiver::new(settings, observatory, keeper, relay, counted);
    // Before the first notification.
    let problems = receiver.look_at_secrets().await;
    tracing::info!(hooks.listen = %tcp.local_addr()?, problems = problems.len(), "taking notifications");
    tasks.spawn("notifications", worker.run());
    let kept = receiver.clone();
    tasks.spawn("secrets of notifications", async move {
        let show = |problems: &[String], registries: usize| {
            conditions.set(ConditionName::Notifications, condition(problems, registries));
        };
        kept.keep_secrets(show).await;
    });
    Ok(Listener {
        tcp,
        transport: Transport::Tls(Arc::new(server_config(serving, versions, Callers::Anyone)?)),
        app: hooks::router(receiver),
        limits: Limits::hooks(),
        drain: drain.clone(),
        metrics: metrics.hooks(),
    })
}

/// Serves it, if there is one.
pub(super) async fn serve(listener: Option<Listener>) -> Served {
    match listener {
        Some(listener) => listener.serve().await,
        None => Served { abandoned: 0 },
    }
}

fn condition(problems: &[String], registries: usize) -> Condition {
    match (problems, registries) {
        ([], 0) => Condition::degraded("no registry has `notifications`, so each is answered 401"),
        ([], _) => Condition::good(format!("registries that may notify: {registries}")),
        (problems, _) => Condition::degraded(problems.join("; ")),
    }
}
