//! Landfall before a real API server, with real controllers. See `cluster/plane.rs` for what is started, and
//! `cluster/tools` for how it is built.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing; what a JSON object lacks is null"
)]

#[path = "cluster/audit.rs"]
mod audit;
#[path = "cluster/certificates.rs"]
mod certificates;
#[path = "cluster/chapter.rs"]
mod chapter;
#[path = "cluster/chart.rs"]
mod chart;
#[path = "cluster/doctor.rs"]
mod doctor;
#[path = "cluster/enforced.rs"]
mod enforced;
#[path = "cluster/entries.rs"]
mod entries;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/gaps.rs"]
mod gaps;
#[path = "cluster/healing.rs"]
mod healing;
#[path = "cluster/image.rs"]
mod image;
#[path = "cluster/kept.rs"]
mod kept;
#[path = "cluster/kubelet.rs"]
mod kubelet;
#[path = "cluster/ledger.rs"]
mod ledger;
#[path = "cluster/load.rs"]
mod load;
#[path = "support/metrics.rs"]
#[expect(dead_code, reason = "no suite looks at all of it")]
mod metrics;
#[path = "cluster/neighbours.rs"]
mod neighbours;
#[path = "cluster/net.rs"]
mod net;
#[path = "cluster/node.rs"]
mod node;
#[path = "cluster/operated.rs"]
mod operated;
#[path = "cluster/other.rs"]
mod other;
#[path = "cluster/outage.rs"]
mod outage;
#[path = "cluster/plane.rs"]
mod plane;
#[path = "cluster/plugin.rs"]
mod plugin;
#[path = "cluster/pods.rs"]
mod pods;
#[path = "cluster/policies.rs"]
mod policies;
#[path = "cluster/pull_secrets.rs"]
mod pull_secrets;
#[path = "cluster/release.rs"]
mod release;
#[path = "cluster/reports.rs"]
mod reports;
#[path = "cluster/rights.rs"]
mod rights;
#[path = "cluster/rollout.rs"]
mod rollout;
#[path = "cluster/sandbox.rs"]
mod sandbox;
#[path = "support/site.rs"]
#[expect(dead_code, reason = "here it is the API server that writes reviews")]
mod site;
#[path = "cluster/speed.rs"]
mod speed;
#[path = "load/table.rs"]
#[expect(dead_code, reason = "the load bench tells more")]
mod table;
#[path = "cluster/tenant.rs"]
mod tenant;
#[path = "cluster/webhook.rs"]
mod webhook;
