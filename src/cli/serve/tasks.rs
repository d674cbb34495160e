//! The long-lived tasks of the server, by name.

use std::collections::HashMap;
use std::pin::pin;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};

use crate::server::{Drain, Served};

/// Tasks that run as long as the server. They are aborted when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts one.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until one ends; for ever if there is none.
    async fn ended(&mut self) -> (&'static str, Result<(), JoinError>) {
        let (id, result) = match self.running.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, Ok(())),
            Some(Err(error)) => (error.id(), Err(error)),
            None => std::future::pending().await,
        };
        (self.names.get(&id).copied().unwrap_or("unnamed"), result)
    }

    /// Serves while all tasks run. If one dies, or ends before the drain has begun, the server leaves: without the task
    /// that renews the certificate, for example, it would serve an expired one some night.
    ///
    /// # Errors
    /// If a task died or ended too early; the error names it.
    pub(super) async fn supervise(
        mut self,
        serving: impl Future<Output = Served>,
        drain: &Drain,
    ) -> anyhow::Result<Served> {
        let mut serving = pin!(serving);
        let mut failure = None;
        let served = loop {
            // Both branches may lose the race: `serving` is polled again, and a task that has ended stays in the set.
            let (name, result) = tokio::select! {
                served = &mut serving => break served,
                ended = self.ended() => ended,
            };
            let error = match result {
                Ok(()) if drain.has_begun() => continue,
                Ok(()) => anyhow!("the task `{name}` of the server ended too early"),
                Err(error) => {
                    anyhow::Error::new(error).context(format!("the task `{name}` of the server died"))
                }
            };
            tracing::error!(error = format!("{error:#}"), "leaving");
            failure.get_or_insert(error);
            drain.close();
        };
        self.running.shutdown().await;
        failure.map_or(Ok(served), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of a server with a task that waits for ever and this one.
    async fn outcome(
        drain: &Drain,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Served, String> {
        let mut tasks = Tasks::default();
        tasks.spawn("other", std::future::pending());
        tasks.spawn("certificate", task);
        let serving = async {
            drain.closed().await;
            Served { abandoned: 3 }
        };
        tasks.supervise(serving, drain).await.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn a_task_that_dies_or_ends_takes_the_server_with_it() {
        let said = outcome(&Drain::default(), async { panic!("on purpose") }).await.unwrap_err();
        assert!(
            said.contains("the task `certificate` of the server died: ") && said.contains("on purpose"),
            "{said}"
        );
        let said = outcome(&Drain::default(), async {}).await.unwrap_err();
        assert_eq!(said, "the task `certificate` of the server ended too early");
    }

    #[tokio::test]
    async fn a_task_may_end_once_the_server_leaves() {
        let drain = Drain::default();
        let leaving = drain.clone();
        let ends = async move {
            leaving.begin();
            tokio::spawn(async move { leaving.close() });
        };
        assert_eq!(outcome(&drain, ends).await, Ok(Served { abandoned: 3 }));
    }
}
