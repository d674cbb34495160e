//! LandingPolicies as somebody sees them who opens them in an emergency: whether they act, and until when they are open.

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Cluster, ClusterError, Written, call, write};
use crate::domain::api_group::API_GROUP;
use crate::domain::policy::{BreakGlass, Enforcement};

/// The version of the API that has LandingPolicies.
const VERSION: &str = "v1alpha1";

/// The field manager of whoever opens a policy by `landfall break-glass`.
const MANAGER: &str = "landfall-break-glass";

/// A LandingPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glass {
    /// The name of the policy.
    pub name: String,
    /// The version of the object.
    pub version: String,
    /// Whether it acts, when it is not open.
    pub enforcement: Enforcement,
    /// Until when it says that it is open, whether that is over or not.
    pub until: Option<Timestamp>,
}

impl Cluster {
    /// All LandingPolicies, by name.
    ///
    /// # Errors
    /// If the API server cannot be asked, or does not know the kind.
    pub async fn glasses(&self) -> Result<Vec<Glass>, ClusterError> {
        let api = self.landing_policies();
        let list = call(|| "list LandingPolicies".to_owned(), api.list(&ListParams::default())).await;
        let list = list.map_err(|error| match error {
            ClusterError::Call { source, .. }
                if matches!(&*source, kube::Error::Api(status) if status.code == 404) =>
            {
                ClusterError::Missing { what: format!("kind LandingPolicy ({API_GROUP}/{VERSION})") }
            }
            error => error,
        })?;
        let mut found: Vec<_> = list.items.into_iter().map(Glass::of).collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Opens a policy, or closes it at once (`None`). Nothing is written if it has changed since it was read.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn open(&self, policy: &Glass, glass: Option<&BreakGlass>) -> Result<Written, ClusterError> {
        let mut merge = spec(glass);
        if let Some(merge) = merge.as_object_mut() {
            merge.insert("metadata".to_owned(), json!({"resourceVersion": policy.version}));
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let (api, merge) = (self.landing_policies(), Patch::Merge(merge));
        write(|| format!("write LandingPolicy `{}`", policy.name), api.patch(&policy.name, &params, &merge))
            .await
    }

    fn landing_policies(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(API_GROUP, VERSION, "LandingPolicy");
        Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, "landingpolicies"))
    }
}

impl Glass {
    fn of(object: DynamicObject) -> Self {
        let spec = object.data.get("spec").unwrap_or(&Value::Null);
        let enforcement = match spec.get("enforcement").and_then(Value::as_str) {
            Some("Observe") => Enforcement::Observe,
            _ => Enforcement::Enforce,
        };
        let until = spec.pointer("/breakGlass/until").and_then(Value::as_str);
        Self {
            until: until.and_then(|until| until.parse().ok()),
            enforcement,
            name: object.metadata.name.unwrap_or_default(),
            version: object.metadata.resource_version.unwrap_or_default(),
        }
    }

    /// The command that does the same as [`Cluster::open`].
    pub fn command(&self, glass: Option<&BreakGlass>) -> String {
        // A quote in it ends the shell's, is written, and begins again.
        let patch = spec(glass).to_string().replace('\'', r"'\''");
        format!("kubectl patch landingpolicies.{API_GROUP} {} --type=merge -p '{patch}'", self.name)
    }
}

/// The merge patch of a policy's `breakGlass`. What an earlier one said is gone.
fn spec(glass: Option<&BreakGlass>) -> Value {
    let glass = glass.map(|BreakGlass { until, namespaces, reason }| {
        let namespaces = (!namespaces.is_empty()).then_some(namespaces);
        json!({"until": until.to_string(), "namespaces": namespaces, "reason": reason})
    });
    json!({"spec": {"breakGlass": glass}})
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn a_policy_is_opened_by_a_patch_that_names_its_version() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let policy = |name: &str, spec: Value| {
                    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LandingPolicy",
                           "metadata": {"name": name, "resourceVersion": "7"}, "spec": spec})
                };
                let until = json!({"until": "2026-11-27T16:00:00Z"});
                let items = [
                    policy("watched", json!({"enforcement": "Observe"})),
                    policy("bank", json!({"enforcement": "Enforce", "breakGlass": until})),
                ];
                let answer = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LandingPolicyList",
                                    "metadata": {}, "items": items});
                server.lock().unwrap().push((head.method.to_string(), head.uri.path().to_owned(), body));
                Ok::<_, kube::Error>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        let cluster = Cluster::of(kube::Client::new(service, "default"));
        let found = cluster.glasses().await.unwrap();
        let seen: Vec<_> =
            found.iter().map(|one| (&*one.name, one.enforcement, one.until.is_some())).collect();
        assert_eq!(seen, [("bank", Enforcement::Enforce, true), ("watched", Enforcement::Observe, false)]);
        let glass = BreakGlass {
            until: "2026-11-27T17:00:00Z".parse().unwrap(),
            namespaces: Vec::new(),
            reason: "it's INC-42".into(),
        };
        cluster.open(&found[0], Some(&glass)).await.unwrap();
        cluster.open(&found[0], None).await.unwrap();
        let asked = asked.lock().unwrap();
        let path = "/apis/landfall.dev/v1alpha1/landingpolicies";
        let [(get, list, _), (patch, one, opened), (_, _, closed)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((&**get, &**list, &**patch, &**one), ("GET", path, "PATCH", &*format!("{path}/bank")));
        assert_eq!(
            opened,
            &json!({"metadata": {"resourceVersion": "7"}, "spec": {"breakGlass":
                {"until": "2026-11-27T17:00:00Z", "namespaces": null, "reason": "it's INC-42"}}})
        );
        assert_eq!(closed, &json!({"metadata": {"resourceVersion": "7"}, "spec": {"breakGlass": null}}));
        assert_eq!(
            found[0].command(Some(&glass)),
            r#"kubectl patch landingpolicies.landfall.dev bank --type=merge -p '{"spec":{"breakGlass":{"namespaces":null,"reason":"it'\''s INC-42","until":"2026-11-27T17:00:00Z"}}}'"#
        );
    }
}
