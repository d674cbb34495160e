//! The Pods of the stories, each with the expected ending of its images.

use serde_json::{Value, json};

use super::world::content::sha256;

/// A small Pod, as a person would write it.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: &'static str,
    /// Its namespace; policies select by it.
    pub namespace: &'static str,
    /// Its images.
    pub images: Vec<Image>,
    /// `kubernetes.io/arch` of its `nodeSelector`.
    pub arch: Option<&'static str>,
    /// One annotation.
    pub annotation: Option<(&'static str, &'static str)>,
    /// `apiVersion`, kind and name of the object whose controller makes it.
    pub owner: Option<[&'static str; 3]>,
}

/// An image of a Pod, and its expected ending.
#[derive(Debug, Clone)]
pub struct Image {
    /// Where in the Pod it stands.
    pub stands: Stands,
    /// The image as the Pod writes it.
    pub written: String,
    /// What stood there before an update; `None`: the same.
    pub was: Option<String>,
    /// When it is pulled.
    pub pull: &'static str,
    /// The expected ending.
    pub becomes: Becomes,
    /// The expected reason.
    pub reason: &'static str,
    /// The expected findings, each with its registry.
    pub findings: Vec<(&'static str, &'static str)>,
}

/// Where in a Pod an image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// `spec.containers`
    Container,
    /// `spec.initContainers`
    Init,
    /// `spec.volumes[].image`
    Volume,
    /// `spec.ephemeralContainers`, added to a Pod that runs
    Ephemeral,
}

/// The expected ending of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// It stays exactly as written.
    AsWritten,
    /// The same path and tag at this registry, pinned to the digest that the tag has there.
    Pinned(&'static str),
    /// The same path at this registry, with the digest that the tag has there and without the tag.
    Digest(&'static str),
    /// The same path and tag or digest at this registry, without an added digest: it has one already, or none is known.
    Unpinned(&'static str),
    /// The path below this project at this registry, pinned.
    Below(&'static str, &'static str),
}

impl Image {
    /// An image in a container. Unless something else is stated, it is expected to stay.
    pub fn of(written: impl Into<String>) -> Self {
        Self {
            stands: Stands::Container,
            written: written.into(),
            was: None,
            pull: "IfNotPresent",
            becomes: Becomes::AsWritten,
            reason: "NotRouted",
            findings: Vec::new(),
        }
    }

    /// Puts it at another place of the Pod.
    #[must_use]
    pub fn stands(mut self, stands: Stands) -> Self {
        self.stands = stands;
        self
    }

    /// An update puts it where another image was.
    #[must_use]
    pub fn was(mut self, before: Image) -> Self {
        self.was = Some(before.written);
        self
    }

    /// `imagePullPolicy: Never`
    #[must_use]
    pub fn never_pulled(mut self) -> Self {
        self.pull = "Never";
        self
    }

    /// It must stay as written, for this reason.
    #[must_use]
    pub fn stays(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// It must become this, for this reason.
    #[must_use]
    pub fn becomes(mut self, becomes: Becomes, reason: &'static str) -> Self {
        (self.becomes, self.reason) = (becomes, reason);
        self
    }

    /// It must be the proved copy in Amsterdam.
    #[must_use]
    pub fn local(self) -> Self {
        self.becomes(Becomes::Pinned("ams"), "Local")
    }

    /// It names a digest, and must be that digest's proved copy at that registry.
    #[must_use]
    pub fn moves(self, place: &'static str) -> Self {
        self.becomes(Becomes::Unpinned(place), "Local")
    }

    /// This must be found at that registry.
    #[must_use]
    pub fn found(mut self, finding: &'static str, at: &'static str) -> Self {
        self.findings.push((finding, at));
        self
    }
}

impl Stands {
    /// Its key under `spec`.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Init => "initContainers",
            Self::Volume => "volumes",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

impl Pod {
    /// A Pod in the namespace `shop`.
    pub fn new(name: &'static str, images: impl IntoIterator<Item = Image>) -> Self {
        let images = images.into_iter().collect();
        Self { name, namespace: "shop", images, arch: None, annotation: None, owner: None }
    }

    /// In another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &'static str) -> Self {
        self.namespace = namespace;
        self
    }

    /// For nodes of one architecture.
    #[must_use]
    pub fn arch(mut self, arch: &'static str) -> Self {
        self.arch = Some(arch);
        self
    }

    /// With an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &'static str, value: &'static str) -> Self {
        self.annotation = Some((key, value));
        self
    }

    /// Made by the controller of an object: `apiVersion`, kind and name.
    #[must_use]
    pub fn owner(mut self, owner: [&'static str; 3]) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The slot of an image, as in the annotation `landfall.dev/images` names it.
    pub(super) fn slot(&self, index: usize) -> String {
        let stands = self.images.get(index).map_or(Stands::Container, |image| image.stands);
        let before = self.images.iter().take(index).filter(|image| image.stands == stands).count();
        let name = match (stands, before) {
            (Stands::Container, 0) => self.name.to_owned(),
            (Stands::Container, _) => format!("{}-{before}", self.name),
            (Stands::Init, _) => format!("init-{before}"),
            (Stands::Volume, _) => format!("data-{before}"),
            (Stands::Ephemeral, _) => format!("debug-{before}"),
        };
        format!("{}/{name}", stands.key())
    }

    /// The AdmissionReview that an API server would send for it. Its uid is made from `seed`.
    pub(super) fn review(&self, seed: &str) -> Value {
        let ephemeral = self.images.iter().any(|image| image.stands == Stands::Ephemeral);
        let before = |image: &Image| image.was.clone().unwrap_or_else(|| image.written.clone());
        let (operation, sub_resource, old) = if ephemeral {
            let old = self.object(|stands| stands != Stands::Ephemeral, before);
            ("UPDATE", Some("ephemeralcontainers"), Some(old))
        } else if self.is_update() {
            ("UPDATE", None, Some(self.object(|_| true, before)))
        } else {
            ("CREATE", None, None)
        };
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": uid(seed),
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "subResource": sub_resource,
                "name": self.name,
                "namespace": self.namespace,
                "operation": operation,
                "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
                "object": self.object(|_| true, |image| image.written.clone()),
                "oldObject": old,
                "dryRun": false,
            }
        })
    }

    /// Whether it runs already, and an image of it is changed.
    pub(super) fn is_update(&self) -> bool {
        self.images.iter().any(|image| image.was.is_some())
    }

    fn object(&self, shows: impl Fn(Stands) -> bool, text: impl Fn(&Image) -> String) -> Value {
        let mut spec = json!({});
        for (n, image) in self.images.iter().enumerate().filter(|(_, image)| shows(image.stands)) {
            let slot = self.slot(n);
            let name = slot.split_once('/').map_or(slot.as_str(), |(_, name)| name);
            let entry = match image.stands {
                Stands::Volume => {
                    json!({"name": name, "image": {"reference": text(image), "pullPolicy": image.pull}})
                }
                Stands::Container | Stands::Init | Stands::Ephemeral => {
                    json!({"name": name, "image": text(image), "imagePullPolicy": image.pull})
                }
            };
            push(&mut spec, image.stands.key(), entry);
        }
        if let (Some(arch), Some(spec)) = (self.arch, spec.as_object_mut()) {
            spec.insert("nodeSelector".into(), json!({"kubernetes.io/arch": arch}));
        }
        if self.images.iter().any(|image| image.stands == Stands::Ephemeral) {
            // It runs already, with an image of this site.
            push(
                &mut spec,
                "containers",
                json!({"name": self.name, "image": "harbor.ams.example.com/production/shop/web:1.4.2"}),
            );
            push(&mut spec, "imagePullSecrets", json!({"name": "harbor-ams-creds"}));
        }
        let mut metadata = json!({"name": self.name, "namespace": self.namespace});
        if let (Some((key, value)), Some(metadata)) = (self.annotation, metadata.as_object_mut()) {
            metadata.insert("annotations".into(), json!({key: value}));
        }
        if let (Some([api_version, kind, name]), Some(metadata)) = (self.owner, metadata.as_object_mut()) {
            let owner = json!({"apiVersion": api_version, "kind": kind, "name": name, "controller": true});
            metadata.insert("ownerReferences".into(), json!([owner]));
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }
}

fn push(spec: &mut Value, key: &str, entry: Value) {
    let Some(fields) = spec.as_object_mut() else { return };
    let list = fields.entry(key).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(entry);
    }
}

/// The same uid for the same seed, in every run.
fn uid(seed: &str) -> String {
    let digest = sha256(seed.as_bytes()).to_string();
    let hex = digest.split(':').nth(1).unwrap_or_default();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
