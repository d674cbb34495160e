//! What a collection needs: each different image once in each context in which it is judged, with who uses it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::result::{MOST_USERS, Runs, User};
use crate::domain::case::{Exemption, Locality, PodContext, Pull, Subject};
use crate::domain::policy::Labels;
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::pod::plan::{Original, originals};
use crate::pod::{Mode, Pod, platform};
use crate::report::workloads::{Collection, Source, Workload};

/// The longest image that is looked at. References of registries are shorter.
const LONGEST_IMAGE: usize = 1024;

/// The most images that are judged: each is asked for, and whoever may create Pods may name as many as he likes.
const MOST: usize = 100_000;

/// The most different contexts: any text may stand in a node selector.
const MOST_CONTEXTS: usize = 1_000;

/// One image in one context.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    image: Box<str>,
    pull: Pull,
    context: usize,
}

/// An image to judge.
#[derive(Debug)]
pub(super) struct Need {
    /// The image.
    pub image: Box<str>,
    /// Whether it is ever pulled.
    pub pull: Pull,
    /// Under which rules.
    pub context: PodContext,
    /// Who uses it, at most [`MOST_USERS`].
    pub users: Vec<User>,
    /// How many more do.
    pub more: usize,
    /// How many Pods run with it.
    pub pods: u32,
    /// What Landfall wrote in its place in running Pods, each once.
    pub standing: BTreeSet<Box<str>>,
}

/// All of them.
pub(super) struct Needs<'a> {
    settings: &'a Settings,
    labels: &'a BTreeMap<Box<str>, Labels>,
    now: Timestamp,
    contexts: Vec<PodContext>,
    known: HashMap<Key, usize>,
    needs: Vec<Need>,
    /// What is too long to be an image, or too much.
    pub left_out: u64,
}

/// The namespaces of a collection, whose labels say which policies count.
#[must_use]
pub fn namespaces(collection: &Collection) -> BTreeSet<&str> {
    collection.iter().map(|workload| &*workload.namespace).collect()
}

impl<'a> Needs<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        labels: &'a BTreeMap<Box<str>, Labels>,
        now: Timestamp,
    ) -> Self {
        Self {
            settings,
            labels,
            now,
            contexts: Vec::new(),
            known: HashMap::new(),
            needs: Vec::new(),
            left_out: 0,
        }
    }

    /// Adds what new Pods of a workload need, and what those that run need.
    pub(super) fn add(&mut self, workload: &Workload) {
        for pod in workload.to_create() {
            self.pod(workload, pod, 0);
        }
        for standing in &workload.standing {
            self.pod(workload, &standing.pod, standing.pods);
        }
    }

    pub(super) fn done(self) -> Vec<Need> {
        self.needs
    }

    fn pod(&mut self, workload: &Workload, text: &str, pods: u32) {
        let Ok(pod) = serde_json::from_str::<Pod<'_>>(text) else {
            self.left_out += 1;
            return;
        };
        let found = self.context(&workload.namespace, &pod);
        let Some((index, context)) = found.and_then(|at| Some((at, self.contexts.get(at)?.clone()))) else {
            self.left_out += 1;
            return;
        };
        let mut seen = HashSet::new();
        for Original { slot, was } in originals(&pod, self.settings, &context) {
            if slot.image.len() > LONGEST_IMAGE {
                self.left_out += 1;
                continue;
            }
            let image: Box<str> = was.as_deref().unwrap_or(slot.image).into();
            let key = Key { image, pull: slot.pull_policy.pull(), context: index };
            if self.needs.len() >= MOST && !self.known.contains_key(&key) {
                self.left_out += 1;
                continue;
            }
            let at = *self.known.entry(key).or_insert_with_key(|key| {
                self.needs.push(Need {
                    image: key.image.clone(),
                    pull: key.pull,
                    context: context.clone(),
                    users: Vec::new(),
                    more: 0,
                    pods: 0,
                    standing: BTreeSet::new(),
                });
                self.needs.len() - 1
            });
            // A Pod counts once, however many of its containers have the image.
            let first = if seen.insert(at) { pods } else { 0 };
            let runs = (pods > 0).then(|| runs(slot.image, first, self.settings, &context));
            let line = match &workload.source {
                Source::Cluster => None,
                Source::File(origin) => Some((origin.path.to_string(), origin.line_of(&slot.pointer()))),
            };
            let Some(need) = self.needs.get_mut(at) else { continue };
            if was.is_some() && pods > 0 {
                need.standing.insert(slot.image.into());
            }
            need.used(workload, &slot.plain(), first, runs, line);
        }
    }

    /// The index of what the images of a Pod have in common; `None`: there are too many.
    fn context(&mut self, namespace: &str, pod: &Pod<'_>) -> Option<usize> {
        let none = Labels::default();
        let labels = self.labels.get(namespace).unwrap_or(&none);
        let context = PodContext {
            regime: self.settings.regime(labels, self.now),
            platforms: self.settings.platforms(&platform::demand(pod)),
            exemption: if pod.mode() == Mode::Skip { Exemption::Skip } else { Exemption::None },
            now: self.now,
        };
        let same = |known: &PodContext| {
            known.exemption == context.exemption
                && known.platforms == context.platforms
                && known.regime.is_same(&context.regime)
        };
        let known = self.contexts.iter().position(same);
        if known.is_none() && self.contexts.len() < MOST_CONTEXTS {
            self.contexts.push(context);
            return Some(self.contexts.len() - 1);
        }
        known
    }
}

/// What Pods run with, and where that is.
fn runs(image: &str, pods: u32, settings: &Settings, context: &PodContext) -> Runs {
    let case = settings.case_for(image, Pull::Registry, context);
    let place = match &case.subject {
        Subject::Routed(routed) => routed.place(routed.named),
        Subject::Kept(_) => None,
    };
    Runs {
        image: plain(image).into_owned(),
        registry: place.map(|place| place.registry.name.to_string()),
        here: place.is_some_and(|place| place.locality == Locality::Local),
        pods,
    }
}

impl Need {
    fn used(
        &mut self,
        workload: &Workload,
        slot: &str,
        pods: u32,
        runs: Option<Runs>,
        line: Option<(String, usize)>,
    ) {
        let Workload { api_version, kind, namespace, name, .. } = workload;
        let [api_version, kind, namespace, name] =
            [api_version, kind, namespace, name].map(|text| plain(text).into_owned());
        // Workloads come one after the other.
        let is_known = self.users.last().is_some_and(|user| {
            (&user.namespace, &user.name, &user.kind, &user.api_version)
                == (&namespace, &name, &kind, &api_version)
        });
        if !is_known && self.users.len() >= MOST_USERS {
            self.more += 1;
            self.pods = self.pods.saturating_add(pods);
            return;
        }
        if !is_known {
            let (path, line) = line.map_or((None, None), |(path, line)| (Some(path), Some(line)));
            let (slots, runs) = (Vec::new(), Vec::new());
            self.users.push(User { api_version, kind, namespace, name, slots, pods: 0, runs, path, line });
        }
        let Some(found) = self.users.last_mut() else { return };
        if !found.slots.iter().any(|known| known == slot) {
            found.slots.push(slot.to_owned());
        }
        let Some(runs) = runs else { return };
        match found.runs.iter_mut().find(|known| known.image == runs.image) {
            Some(known) => known.pods = known.pods.saturating_add(pods),
            None => found.runs.push(runs),
        }
        found.pods = found.pods.saturating_add(pods);
        self.pods = self.pods.saturating_add(pods);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::settings::sample::settings;
    use crate::report::workloads::Manifests;

    /// A tenant may write any platform into each of his Pods, and the same image into each of its containers.
    #[test]
    fn what_a_tenant_writes_takes_no_more_than_so_many_contexts_and_is_counted() {
        let settings = settings(Duration::from_secs(1));
        let pod = |n: usize| {
            format!(
                "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p{n}\"}},\"spec\":{{\"nodeSelector\":{{\"kubernetes.io/arch\":\"a{n}\"}},\"containers\":[{{\"name\":\"a\",\"image\":\"web:1\"}},{{\"name\":\"b\",\"image\":\"web:1\"}}]}}}}"
            )
        };
        let pods: Vec<String> = (0..MOST_CONTEXTS + 7).map(pod).collect();
        let text = format!("{{\"kind\":\"List\",\"items\":[{}]}}", pods.join(","));
        let mut manifests = Manifests::new(&settings, "landfall", "default");
        manifests.stream("stdin", text.as_bytes()).unwrap();
        let (found, labels) = (manifests.done().unwrap(), BTreeMap::new());
        let mut needs = Needs::new(&settings, &labels, Timestamp::UNIX_EPOCH);
        found.iter().for_each(|workload| needs.add(workload));
        assert_eq!(needs.left_out, 7);
        let needs = needs.done();
        assert_eq!(needs.len(), MOST_CONTEXTS);
        assert_eq!(needs[0].users[0].slots, ["containers/a", "containers/b"]);
    }
}
