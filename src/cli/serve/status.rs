//! The gaps for the status page: those of the cluster.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::ready;

use crate::cluster::Cluster;
use crate::domain::error_chain::error_chain;
use crate::server::GapsOf;

/// Reads them from the API server, each time that it is asked.
pub(super) fn gaps_of(cluster: Option<&Cluster>) -> GapsOf {
    let Some(objects) = cluster.map(Cluster::gaps) else {
        return Arc::new(|| ready(Err("there is no cluster to ask".to_owned())).boxed());
    };
    let objects = Arc::new(objects);
    Arc::new(move || {
        let objects = objects.clone();
        async move {
            match objects.records().await {
                Ok(Some(recorded)) => Ok(recorded),
                Ok(None) => Err("the cluster does not know the resource ReplicationGap".to_owned()),
                Err(error) => Err(error_chain(&error)),
            }
        }
        .boxed()
    })
}
