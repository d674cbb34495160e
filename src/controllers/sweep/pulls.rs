//! What kubelets say of pulls that failed: a hint to look, never an answer. What the leader finds itself counts; what it cannot
//! explain is a hint to the nodes, whose authorities, routes or credentials may be wrong.

use tokio::time::Instant;

use super::inspect::Changed;
use super::metrics::PullResult;
use super::needs::{Ground, Needs};
use super::{NAMESPACE, PATIENCE, Sweeper};
use crate::cluster::FailedPull;
use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::found::Copy;
use crate::evidence::{Answers, Asking, Pullable, Share};

impl Sweeper {
    /// Looks at the copy that a node says it could not pull: manifest, children and layers.
    pub(super) async fn look_at_pull(
        &self,
        failed: &FailedPull,
        needs: &mut Needs,
        ground: Ground<'_>,
    ) -> Changed {
        let labels = self.namespaces.labels(&failed.namespace).await;
        let context = PodContext {
            regime: ground.settings.regime(&labels, ground.now),
            platforms: ground.settings.platforms.clone(),
            exemption: Exemption::None,
            now: ground.now,
        };
        let case = ground.settings.case_for(&failed.image, Pull::Registry, &context);
        // A copy of another site is not ours to look at, nor an image without a Route.
        let Some(here) = case.at_named_replica() else { return Changed::Nothing };
        let deadline = Instant::now() + PATIENCE;
        let asking =
            Asking { share: Share::Mutating, namespace: NAMESPACE, deadline, answers: Answers::Cached };
        let judgement = self.observatory.judge(&here, asking).await;
        let mut result = PullResult::Unexplained;
        let Some(copy) = Copy::of(&here, &judgement.evidence) else {
            // It is not there, which the sweep and the doors find themselves.
            self.metrics.pull_failed(PullResult::Absent);
            return Changed::Nothing;
        };
        for manifest in copy.manifests() {
            match self.observatory.pullable(&copy.place, manifest, deadline).await {
                Pullable::Yes => {}
                Pullable::Damaged(_) => result = PullResult::Damaged,
                Pullable::Absent if result != PullResult::Damaged => result = PullResult::Absent,
                Pullable::Unknown(_) if result == PullResult::Unexplained => result = PullResult::Unknown,
                Pullable::Absent | Pullable::Unknown(_) => {}
            }
        }
        self.metrics.pull_failed(result);
        let FailedPull { image, namespace, pod, message } = failed;
        match result {
            PullResult::Damaged => {
                needs.note(failed, &labels, ground);
                Changed::Findings
            }
            PullResult::Unexplained => {
                tracing::warn!(
                    pod.namespace = namespace,
                    pod.name = pod,
                    image,
                    message,
                    "a node cannot pull what its registry serves: look at the node's authorities, its route and the Pod's pull secret"
                );
                Changed::Nothing
            }
            PullResult::Absent | PullResult::Unknown => Changed::Nothing,
        }
    }
}
