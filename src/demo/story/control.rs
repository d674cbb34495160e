//! What stays up after the stories: the status page of the demo's server, Pods that go on being created, and a page of the
//! demo's own on which registries go dark and come back.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use maud::{DOCTYPE, html};
use strum::VariantArray;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::StoryError;
use super::script::script;
use super::world::Embedded;
use crate::server::{Condition, ConditionName, ServerMetrics, Status, admin};

/// The pause between two Pods.
const BETWEEN: Duration = Duration::from_secs(1);
/// How many acts of the script are played again: those in which nothing is broken.
const QUIET_ACTS: usize = 3;

/// What the pages are made of.
pub(super) struct Control {
    pub(super) status: Status,
    pub(super) metrics: ServerMetrics,
}

/// The pages, on ports of their own, before they are served.
pub struct Pages {
    /// The address of the status page.
    pub status: String,
    /// The address of the page of the world.
    pub world: String,
    listening: [TcpListener; 2],
}

/// Somebody wants this registry up, or not.
struct Order {
    name: String,
    power: Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    Up,
    Dark,
}

/// What the page of the world shows.
#[derive(Clone)]
struct World {
    power: Arc<Mutex<BTreeMap<String, Power>>>,
    orders: mpsc::Sender<Order>,
    status: Arc<str>,
}

impl Pages {
    /// Takes the ports.
    ///
    /// # Errors
    /// If none is free.
    pub async fn open() -> Result<Self, StoryError> {
        let socket = |source| StoryError::Socket { source };
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listening = [bind().await.map_err(socket)?, bind().await.map_err(socket)?];
        let url = |listener: &TcpListener| -> Result<_, StoryError> {
            let address: SocketAddr = listener.local_addr().map_err(socket)?;
            Ok(format!("http://{address}/"))
        };
        let [one, other] = &listening;
        Ok(Self { status: url(one)?, world: url(other)?, listening })
    }

    /// Serves them for as long as it is polled, and sends Pods to the door at `url`.
    pub(super) async fn serve(
        self,
        control: &Control,
        registries: [(&str, &Embedded); 3],
        (client, url): (&reqwest::Client, &str),
    ) {
        let Self { status, listening: [one, other], world: _ } = self;
        let (orders, mut ordered) = mpsc::channel(8);
        let power = registries.iter().map(|(name, _)| ((*name).to_owned(), Power::Up)).collect();
        let world = World { power: Arc::new(Mutex::new(power)), orders, status: status.into() };
        let obey = async {
            while let Some(Order { name, power }) = ordered.recv().await {
                if let Some((_, registry)) = registries.iter().find(|(known, _)| *known == name) {
                    match power {
                        Power::Up => registry.up().await,
                        Power::Dark => registry.down().await,
                    }
                }
            }
        };
        for name in ConditionName::VARIANTS {
            control.status.conditions.set(*name, Condition::good("the demo's server has no part in it"));
        }
        let Control { status, metrics } = control;
        let show = || registries_condition(status);
        // None of them ends by itself.
        let _ = tokio::join!(
            obey,
            status.observatory.watch(show),
            pods(client, url),
            admin::serve(one, status.clone(), metrics),
            axum::serve(other, router(world)).into_future()
        );
    }
}

/// The condition that says how the registries are.
fn registries_condition(status: &Status) {
    let reports = status.observatory.health();
    let good = reports.iter().filter(|report| report.health.is_good()).count();
    let message = format!("{good} of {} are well", reports.len());
    let condition =
        if good == reports.len() { Condition::good(message) } else { Condition::degraded(message) };
    status.conditions.set(ConditionName::Registries, condition);
}

/// Creates Pods, one after the other, for ever.
async fn pods(client: &reqwest::Client, url: &str) {
    let stories = script().into_iter().take(QUIET_ACTS).flat_map(|act| act.stories);
    let reviews = stories.filter_map(|story| story.sent.review(story.name).ok());
    let reviews: Vec<String> = reviews.map(|review| review.to_string()).collect();
    loop {
        for review in &reviews {
            sleep(BETWEEN).await;
            // What became of it stands on the page.
            let _ = client
                .post(url)
                .query(&[("timeout", "5s")])
                .header(CONTENT_TYPE, "application/json")
                .body(review.clone())
                .send()
                .await;
        }
    }
}

fn router(world: World) -> Router {
    Router::new().route("/", get(show)).route("/{name}/{power}", post(order)).with_state(world)
}

async fn order(
    Shared(world): Shared<World>,
    Path((name, power)): Path<(String, String)>,
) -> impl IntoResponse {
    let power = if power == "up" { Power::Up } else { Power::Dark };
    if let Some(known) = world.power.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&name) {
        *known = power;
    }
    let _ = world.orders.send(Order { name, power }).await;
    Redirect::to("/")
}

async fn show(Shared(world): Shared<World>) -> impl IntoResponse {
    let power = world.power.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "The demo's world" }
                style { "body{font:1.1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem} form{display:inline} button{font:inherit;padding:.3rem .8rem} li{margin:.6rem 0}" }
            }
            body {
                main {
                    h1 { "The demo's world" }
                    p { "Let a registry go dark, and look at the " a href=(world.status) { "status page" } ": a Pod is created every second." }
                    ul {
                        @for (name, power) in &power {
                            li {
                                strong { (name) } (if *power == Power::Up { " is up. " } else { " is dark. " })
                                @let next = if *power == Power::Up { ("dark", "Let it go dark") } else { ("up", "Bring it back") };
                                form method="post" action={ "/" (name) "/" (next.0) } { button { (next.1) " " span { "(" (name) ")" } } }
                            }
                        }
                    }
                }
            }
        }
    };
    Html(page.into_string())
}
