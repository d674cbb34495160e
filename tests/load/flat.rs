//! Does an admission cost more where there are more routes, or more images?

use std::fmt::Write;

use anyhow::Result;
use landfall::facade::demo::world::seed;

use crate::Scale;
use crate::driver::{Caller, post};
use crate::memory::{fill, filled, hold, image};
use crate::review::review;
use crate::served::{Served, same};
use crate::site::{ROUTES, Site};
use crate::table::{Row, micros};

const FEW: usize = 10;
const MANY_ROUTES: usize = 1_000;
const MANY_IMAGES: usize = 100_000;
/// Requests of one measurement: about a second of a core.
const REQUESTS: usize = 24_000;
const REVIEW: &str = include_str!("../vectors/admission/deployment-web.json");

/// All figures.
pub async fn rows(scale: Scale) -> Result<Vec<Row>> {
    let mut rows = routes(scale).await?;
    rows.extend(images(scale).await?);
    Ok(rows)
}

/// The README's route, last of so many.
fn routes_in_all(number: usize) -> String {
    let mut text = "routes:\n".to_owned();
    for other in 1..number {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "- name: team-{other}\n  primary: {{registry: fra, repositories: \"team-{other}/**\"}}\n  \
             replicas: [{{registry: ams, namespace: team-{other}, flatten: 1}}]"
        );
    }
    ROUTES.replace("routes:\n", &text)
}

async fn routes(scale: Scale) -> Result<Vec<Row>> {
    let site = Site::start().await?;
    seed::hold_reviewed(&mut site.ams.store(), "harbor.fra.example.com", &[REVIEW])?;
    let few = Served::landfall(&site, &site.configure("few", &routes_in_all(FEW))?).await?;
    let many = Served::landfall(&site, &site.configure("many", &routes_in_all(MANY_ROUTES))?).await?;
    let request = post("/mutate", REVIEW);
    let measure = async |served: &Served| {
        let mut callers = served.callers(&request).await?;
        let expected = callers[0].call(&request).await?.to_vec();
        let call = async |caller: &mut Caller, _| same(caller, &request, &expected).await;
        served.cpu(callers, REQUESTS / scale.share, call).await.map(micros)
    };
    let rounds = in_turn(scale, async || measure(&few).await, async || measure(&many).await).await?;
    let figure = format!("CPU per request: {FEW} routes, {MANY_ROUTES} routes");
    Ok(vec![Row::compared(figure, "µs", &rounds, "≤ 1.10")])
}

async fn images(scale: Scale) -> Result<Vec<Row>> {
    let number = MANY_IMAGES / scale.thin;
    let site = Site::start().await?;
    // The primary, too: what it does not hold would be asked of it again and again.
    hold(&mut site.ams.store(), number);
    hold(&mut site.fra.store(), number);
    // Four answers each, and none is pushed out.
    let config = filled(5 * MANY_IMAGES);
    let few = Served::landfall(&site, &site.configure("few", &config)?).await?;
    let many = Served::landfall(&site, &site.configure("many", &config)?).await?;
    fill(&few, FEW).await?;
    fill(&many, number).await?;
    let pod = |which: usize| anyhow::Ok(post("/mutate", &review(0, &[], &[&image(which)])?.to_string()));
    // Written once: the driver has no time to lose. What is asked is spread over all of them.
    let measure = async |served: &Served, asked: usize| {
        let step = (asked / 4_096).max(1);
        let requests = (0..asked).step_by(step).map(pod).collect::<Result<Vec<_>>>()?;
        let call = async |caller: &mut Caller, which: usize| {
            caller.call(&requests[which % requests.len()]).await.map(drop)
        };
        // Warm is what is asked for without a verdict made anew: the tags are proved, and that is known.
        while {
            let before = served.judged_anew().await?;
            served.cpu(served.callers(&requests[0]).await?, requests.len(), call).await?;
            served.judged_anew().await? > before
        } {}
        served.cpu(served.callers(&requests[0]).await?, REQUESTS / scale.share, call).await.map(micros)
    };
    let base = async || measure(&few, FEW).await;
    let same = in_turn(scale, base, async || measure(&many, FEW).await).await?;
    let all = in_turn(scale, base, async || measure(&many, number).await).await?;
    let figure = |asked: &str| format!("CPU per request: {FEW} images, {number} images, {asked} asked");
    Ok(vec![
        Row::compared(figure("the same 10"), "µs", &same, "≤ 1.10"),
        Row::compared(figure("4,096 of them"), "µs", &all, "≤ 1.10"),
    ])
}

/// Rounds that alternate which goes first.
async fn in_turn(
    scale: Scale,
    one: impl AsyncFn() -> Result<f64>,
    other: impl AsyncFn() -> Result<f64>,
) -> Result<Vec<(f64, f64)>> {
    let mut rounds = Vec::new();
    for round in 0..scale.rounds {
        rounds.push(if round % 2 == 0 {
            let first = one().await?;
            (first, other().await?)
        } else {
            let first = other().await?;
            (one().await?, first)
        });
    }
    Ok(rounds)
}
