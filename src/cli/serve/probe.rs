//! One look at every registry that a route names, before this replica takes work.
//!
//! Whether it answers is not what readiness waits for (a site must come up while the others are gone), only that it
//! has been asked: a site that is down is then known to be down.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use prometheus_client::registry::Registry as Page;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::domain::registry::{Kind, SharedRegistry};
use crate::domain::settings::Settings;
use crate::harbor::{Harbor, Standing};
use crate::registry::{Client, Door, Metrics, Request};
use crate::server::Condition;

/// How long the slowest may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks them all at once.
pub(super) async fn all(settings: &Settings) -> Condition {
    let named = settings.routes.iter().flat_map(|route| {
        let replicas = route.replicas.iter().map(|replica| &replica.registry);
        std::iter::once(&route.primary).chain(replicas)
    });
    let named: BTreeMap<_, _> = named.map(|registry| (&registry.name, registry)).collect();
    let deadline = Instant::now() + PATIENCE;
    let asked = named.into_values().map(async |registry| {
        let found = ask(registry, deadline).await;
        match &found {
            Ok(_) => tracing::info!(registry.name = %registry.name, "the registry answers"),
            Err(why) => {
                tracing::warn!(registry.name = %registry.name, why, "the registry is not as it should be")
            }
        }
        format!("{}: {}", registry.name, found.unwrap_or_else(|why| why))
    });
    Condition::good(format!("asked at the start: {}", join_all(asked).await.join("; ")))
}

async fn ask(registry: &SharedRegistry, deadline: Instant) -> Result<String, String> {
    let shared = registry.clone();
    // Its requests are not on the page: they are not what the doors ask.
    let client = spawn_blocking(move || Client::new(&shared, Metrics::register(&mut Page::default()))).await;
    let client = client.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    match registry.kind {
        Kind::Harbor => {
            let test = Harbor::new(std::sync::Arc::new(client)).self_test(deadline).await;
            let version = test.version.unwrap_or_default();
            match test.standing {
                Standing::Proved => Ok(format!("answers and knows us ({version})")),
                Standing::Stranger => Err("answers, but does not know us: see its credentials".to_owned()),
                Standing::DatabaseDown(unknown) | Standing::Unreachable(unknown) => Err(unknown.to_string()),
            }
        }
        Kind::Distribution => {
            let request = Request {
                method: Method::GET,
                path_and_query: "/v2/",
                // Whatever its status, a registry that gives one is up; credentials are for the repositories.
                door: Door::Api,
                accept: None,
                body: None,
                body_limit: 64 * 1024,
            };
            let answer = client.send(request, deadline).await.map_err(|unknown| unknown.to_string())?;
            Ok(format!("answers ({})", answer.status.as_u16()))
        }
    }
}
