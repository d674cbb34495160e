//! Leadership by Lease.
//!
//! Who leads renews the Lease every few seconds. Another one takes it when it has seen it unchanged for as long as it
//! is said to last, by its own monotonic clock: the times in a Lease are somebody else's wall clock, and are for people
//! to read.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PostParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::secret::manager;
use super::{Cluster, ClusterError, MANAGER, Written, about, call, write};
use crate::domain::error_chain::error_chain;

/// How long leadership lasts, and how often it is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// Without a renewal.
    pub lasts: Duration,
    /// Between two renewals, and between two looks of those who wait.
    pub renewed: Duration,
}

impl Default for Term {
    /// As Kubernetes' own controllers have it, but renewed more sparingly.
    fn default() -> Self {
        Self { lasts: Duration::from_secs(15), renewed: Duration::from_secs(4) }
    }
}

/// A Lease, and who wants it.
#[derive(Debug)]
pub struct Lease {
    api: Api<v1::Lease>,
    name: String,
    me: String,
    term: Term,
    clock: fn() -> Timestamp,
    /// The version that was seen last, and since when.
    seen: Option<(String, Instant)>,
}

/// What one look at a Lease comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It is ours: renew it.
    Renew,
    /// Nobody's, or its holder is gone: take it.
    Take,
    /// Somebody else's.
    Leave,
}

/// Judges one look; the holder has not moved for as long as `unmoved`.
fn claim(holder: &str, me: &str, lasts: Duration, unmoved: Duration) -> Claim {
    match holder {
        "" => Claim::Take,
        holder if holder == me => Claim::Renew,
        _ if unmoved >= lasts => Claim::Take,
        _ => Claim::Leave,
    }
}

impl Cluster {
    /// The Lease of that name, wanted by `me`, a name that no other process has.
    pub fn lease(
        &self,
        namespace: &str,
        name: &str,
        me: &str,
        term: Term,
        clock: fn() -> Timestamp,
    ) -> Lease {
        Lease {
            api: Api::namespaced(self.client.clone(), namespace),
            name: name.to_owned(),
            me: me.to_owned(),
            term,
            clock,
            seen: None,
        }
    }
}

impl Lease {
    /// Says whether we lead, for as long as it is polled. Nobody leads longer than a term after the last renewal that
    /// the API server confirmed.
    pub async fn run(&mut self, leading: &watch::Sender<bool>) {
        let mut until = Instant::now();
        loop {
            let asked = Instant::now();
            match tokio::time::timeout(self.term.renewed, self.look()).await {
                Ok(Ok(true)) => until = asked + self.term.lasts,
                Ok(Ok(false)) => until = asked,
                Ok(Err(error)) => {
                    tracing::warn!(error = error_chain(&error), "the Lease cannot be looked at")
                }
                Err(_) => tracing::warn!(lease = %self.name, "the API server does not answer"),
            }
            let leads = Instant::now() < until;
            let changed = leading.send_if_modified(|before| std::mem::replace(before, leads) != leads);
            if changed {
                tracing::info!(lease.name = %self.name, leads, "leadership");
            }
            // A leader that cannot renew must notice when its term is over, and not a renewal later.
            let next = Instant::now() + about(self.term.renewed);
            let next = if leads { next.min(until) } else { next };
            tokio::time::sleep_until(next).await;
        }
    }

    /// Gives it back, so that the next one need not wait for it to run out.
    ///
    /// # Errors
    /// Where the API server cannot be asked.
    pub async fn release(&mut self) -> Result<(), ClusterError> {
        let Some(found) = self.read().await? else { return Ok(()) };
        let spec = found.spec.unwrap_or_default();
        if spec.holder_identity.as_deref() == Some(&self.me) {
            let version = found.metadata.resource_version.unwrap_or_default();
            // Somebody else has it by now, or it is nobody's.
            let _: Written = self.write(&version, "", &spec).await?;
        }
        Ok(())
    }

    /// Looks once, and takes or renews it where it is ours to.
    async fn look(&mut self) -> Result<bool, ClusterError> {
        // Whoever renders the chart may leave it out, as Argo CD does.
        let Some(found) = self.read().await? else { return Ok(self.make().await? == Written::Done) };
        let (spec, version) =
            (found.spec.unwrap_or_default(), found.metadata.resource_version.unwrap_or_default());
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => self.seen.insert((version.clone(), Instant::now())).1,
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        // Somebody else's term is what they say it is.
        let said = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = said.map_or(self.term.lasts, Duration::from_secs);
        match claim(holder, &self.me, lasts, since.elapsed()) {
            Claim::Leave => Ok(false),
            Claim::Renew | Claim::Take => Ok(self.write(&version, &self.me, &spec).await? == Written::Done),
        }
    }

    async fn read(&self) -> Result<Option<v1::Lease>, ClusterError> {
        call(|| format!("read {self}"), self.api.get_opt(&self.name)).await
    }

    /// Makes it, ours. Of several who do at once, one does.
    async fn make(&self) -> Result<Written, ClusterError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let spec = Some(self.spec(&self.me, &v1::LeaseSpec::default()));
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let lease = v1::Lease { metadata, spec };
        write(|| format!("create {self}"), self.api.create(&params, &lease)).await
    }

    async fn write(
        &self,
        version: &str,
        holder: &str,
        before: &v1::LeaseSpec,
    ) -> Result<Written, ClusterError> {
        let merge = json!({"metadata": {"resourceVersion": version}, "spec": self.spec(holder, before)});
        let merge = Patch::Merge(merge);
        write(|| format!("write {self}"), self.api.patch(&self.name, &manager(), &merge)).await
    }

    /// What it says from now on: this holder's (nobody's where that is empty), after what it said before.
    fn spec(&self, holder: &str, before: &v1::LeaseSpec) -> v1::LeaseSpec {
        let now = MicroTime((self.clock)());
        let takes = !holder.is_empty() && before.holder_identity.as_deref() != Some(holder);
        // A Lease whose duration is 0 is refused.
        let lasts = if holder.is_empty() { 1 } else { self.term.lasts.as_secs().max(1) };
        v1::LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(i32::try_from(lasts).unwrap_or(i32::MAX)),
            renew_time: Some(now.clone()),
            acquire_time: takes.then_some(now),
            lease_transitions: takes.then(|| before.lease_transitions.unwrap_or_default().saturating_add(1)),
            ..v1::LeaseSpec::default()
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease `{}` in namespace `{}`", self.name, self.api.namespace().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_from_nobody_who_moves() {
        let (lasts, just_under) = (Duration::from_secs(15), Duration::from_millis(14_999));
        for (holder, unmoved, expected) in [
            ("", Duration::ZERO, Claim::Take),
            ("me", Duration::ZERO, Claim::Renew),
            ("me", lasts, Claim::Renew),
            ("you", Duration::ZERO, Claim::Leave),
            ("you", just_under, Claim::Leave),
            ("you", lasts, Claim::Take),
        ] {
            assert_eq!(claim(holder, "me", lasts, unmoved), expected, "{holder:?} {unmoved:?}");
        }
    }
}
