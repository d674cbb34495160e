//! How fast a registry that would remain serves layers: some are read, and thrown away.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::node::{Node, Pull, Pulled};
use crate::domain::image::Reference;
use crate::registry::{Layer, Open};

/// The most that is read.
const MOST_BYTES: u64 = 64 << 20;

/// For so long at most.
const MOST_TIME: Duration = Duration::from_secs(10);

/// What is read in less than that is no measure.
const LEAST_BYTES: u64 = 1 << 20;

/// Measures how many bytes a second come from the registries that would serve, the largest layers first. `None`: too little came
/// to tell.
pub(super) async fn measured(node: &Node<'_>, pulled: &BTreeMap<&Pull, Pulled>) -> Option<u64> {
    let mut layers: Vec<(&Pull, Layer)> = Vec::new();
    for (pull, found) in pulled {
        if let Pulled::Whole { layers: found, .. } = found {
            layers.extend(found.values().flatten().map(|layer| (*pull, *layer)));
        }
    }
    layers.sort_by_key(|(_, layer)| Reverse(layer.size));
    layers.dedup_by_key(|(_, layer)| layer.digest);
    let (began, mut read) = (Instant::now(), 0);
    let deadline = began + MOST_TIME;
    for (pull, layer) in layers {
        // At the deadline what came until then counts.
        let _late = timeout_at(deadline, read_layer(node, pull, &layer, &mut read)).await;
        if read >= MOST_BYTES || Instant::now() >= deadline {
            break;
        }
    }
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    (read >= LEAST_BYTES).then(|| read.saturating_mul(1000) / millis)
}

async fn read_layer(node: &Node<'_>, pull: &Pull, layer: &Layer, read: &mut u64) -> Option<()> {
    let reference = Reference::parse(&pull.image).ok()?;
    let client = node.client_of(pull, reference.host).await?;
    let opened = client.open(&reference.repository(), &layer.digest, 0).await.ok()?;
    let Open::Blob(mut opened) = opened else { return None };
    while let Some(chunk) = opened.chunk().await.ok()? {
        *read += u64::try_from(chunk.len()).unwrap_or_default();
        if *read >= MOST_BYTES {
            break;
        }
    }
    Some(())
}
