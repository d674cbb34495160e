//! Manifests before they are applied: files, directories, rendered charts, the output of kustomize.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::collection::{Collection, Origin, Source, Workload};
use super::yaml::{Broken, Document, documents};
use crate::domain::policy::NAMESPACE_NAME;
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::pod::workload::essence;

/// The longest text that is read.
pub const LONGEST: u64 = 256 << 20;

/// How deep directories are looked into.
const DEEPEST: usize = 32;

/// The most problems that are kept.
const MOST_PROBLEMS: usize = 50;

/// A document that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem {
    /// The file.
    pub path: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, why } = self;
        write!(out, "{}:{line}: {}", plain(path), plain(why))
    }
}

/// Reads manifests.
#[derive(Debug)]
pub struct Manifests<'a> {
    settings: &'a Settings,
    own_namespace: &'a str,
    namespace: &'a str,
    found: Collection,
    problems: Vec<ManifestProblem>,
}

/// The document that an object stands in.
struct Place<'d> {
    path: &'d Arc<str>,
    line: usize,
    lines: &'d Arc<HashMap<String, usize>>,
}

impl<'a> Manifests<'a> {
    /// Nothing is read yet. `own_namespace`: that of Landfall, which it leaves alone. `namespace`: where an object without one
    /// would be created.
    #[must_use]
    pub fn new(settings: &'a Settings, own_namespace: &'a str, namespace: &'a str) -> Self {
        Self { settings, own_namespace, namespace, found: Collection::default(), problems: Vec::new() }
    }

    /// Reads a file, or the files `*.yaml`, `*.yml` and `*.json` of a directory and of those in it, in the order of their names.
    ///
    /// # Errors
    /// A file or a directory cannot be read.
    pub fn read(&mut self, path: &Path) -> Result<(), (PathBuf, io::Error)> {
        let at = |error| (path.to_owned(), error);
        if path.is_dir() {
            return self.directory(path, 0);
        }
        let file = std::fs::File::open(path).map_err(at)?;
        let text = text(file).map_err(at)?;
        self.text(&path.display().to_string(), &text);
        Ok(())
    }

    /// Reads all of a stream, such as the standard input.
    ///
    /// # Errors
    /// It cannot be read, is no UTF-8, or does not end.
    pub fn stream(&mut self, name: &str, from: impl io::Read) -> io::Result<()> {
        let text = text(from)?;
        self.text(name, &text);
        Ok(())
    }

    /// Everything that was read.
    ///
    /// # Errors
    /// The documents that cannot be understood, if there are any.
    pub fn done(self) -> Result<Collection, Vec<ManifestProblem>> {
        if self.problems.is_empty() { Ok(self.found) } else { Err(self.problems) }
    }

    fn directory(&mut self, path: &Path, depth: usize) -> Result<(), (PathBuf, io::Error)> {
        let at = |error| (path.to_owned(), error);
        let name = path.display();
        if path.join("Chart.yaml").is_file() {
            let why =
                format!("a chart is read after it was rendered: `helm template {name} | landfall … -f -`");
            if depth == 0 {
                self.problem(&Arc::from(name.to_string()), 1, why);
            } else {
                self.found.partial = true;
                self.found.notes.push(format!("`{name}` was left out: {why}"));
            }
            return Ok(());
        }
        if path.join("kustomization.yaml").is_file() {
            self.found.partial = true;
            self.found.notes.push(format!(
                "`{name}` has a kustomization, which is not applied here: `kubectl kustomize {name} | landfall … -f -` reads what it makes"
            ));
        }
        let entries = std::fs::read_dir(path).map_err(at)?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(at)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (inner, is_hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
            let extension = inner.extension().and_then(|extension| extension.to_str());
            let kind = entry.file_type().map_err(at)?;
            // A link to a directory may lead back.
            if kind.is_dir() && !is_hidden && depth < DEEPEST {
                self.directory(&inner, depth + 1)?;
            } else if !kind.is_dir()
                && !is_hidden
                && matches!(extension, Some("yaml" | "yml" | "json"))
                && inner.is_file()
            {
                self.read(&inner)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &str, text: &str) {
        let path: Arc<str> = path.into();
        let documents = match documents(text) {
            Ok(documents) => documents,
            Err(Broken { line, why }) => {
                let is_template =
                    text.lines().nth(line.saturating_sub(1)).is_some_and(|line| line.contains("{{"));
                let hint = if is_template {
                    "; this is a template: render the chart first with `helm template`"
                } else {
                    ""
                };
                return self.problem(&path, line, why + hint);
            }
        };
        for Document { value, line, lines } in documents {
            let lines = Arc::new(lines);
            let place = Place { path: &path, line, lines: &lines };
            self.object(&value, "", &place, 0);
        }
    }

    /// `pointer`: where the object stands in its document.
    fn object(&mut self, object: &Value, pointer: &str, place: &Place<'_>, depth: usize) {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if object.is_null() {
            return;
        }
        if kind.is_empty() {
            return Collection::count(&mut self.found.skipped, "(no object of Kubernetes)");
        }
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        let items =
            object.get("items").and_then(Value::as_array).filter(|_| kind.ends_with("List") && depth < 4);
        if let Some(items) = items {
            for (n, item) in items.iter().enumerate() {
                self.object(item, &format!("{pointer}/items/{n}"), place, depth + 1);
            }
            return;
        }
        let template = match (group, kind) {
            ("", "Pod") => "",
            ("", "ReplicationController")
            | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job") => "/spec/template",
            ("batch", "CronJob") => "/spec/jobTemplate/spec/template",
            ("", "Namespace") => {
                self.namespace(object);
                return Collection::count(&mut self.found.skipped, kind);
            }
            ("", "Secret" | "ServiceAccount") => {
                self.found.keys.push(object.clone());
                return Collection::count(&mut self.found.skipped, kind);
            }
            // The groups of Kubernetes itself have no dot, or end so.
            (group, kind) if group.contains('.') && !group.ends_with(".k8s.io") => {
                return Collection::count(&mut self.found.custom, &format!("{kind}.{group}"));
            }
            _ => return Collection::count(&mut self.found.skipped, kind),
        };
        let mut origin = Origin {
            path: place.path.clone(),
            line: place.line,
            pointer: format!("{pointer}{template}").into(),
            lines: place.lines.clone(),
        };
        if let Some(line) = place.lines.get(pointer) {
            origin.line = *line;
        }
        self.workload((api_version, kind), object, template, origin);
    }

    fn workload(
        &mut self,
        (api_version, kind): (&str, &str),
        object: &Value,
        template: &str,
        origin: Origin,
    ) {
        let text = |key: &str| object.get("metadata")?.get(key)?.as_str().filter(|text| !text.is_empty());
        let namespace = text("namespace").unwrap_or(self.namespace);
        let name = text("name").or(text("generateName"));
        if self.settings.leaves_alone(namespace, Some(self.own_namespace)) {
            return Collection::count(&mut self.found.left_alone, namespace);
        }
        let Some(name) = name else {
            return self.problem(&origin.path, origin.line, format!("a {kind} has no name"));
        };
        let template = object.pointer(template).map(|template| essence(&template.to_string()));
        let template = match template {
            Some(Ok(template)) => template,
            Some(Err(error)) => {
                let why = format!("{kind} `{name}` cannot be understood: {}", without_place(&error));
                return self.problem(&origin.path, origin.line, why);
            }
            None => {
                return self.problem(
                    &origin.path,
                    origin.line,
                    format!("{kind} `{name}` has no template of Pods"),
                );
            }
        };
        self.found.add(Workload {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            pods: 0,
            template: Some(template.into()),
            standing: Vec::new(),
            source: Source::File(origin),
        });
    }

    fn namespace(&mut self, object: &Value) {
        let metadata = object.get("metadata");
        let Some(name) = metadata.and_then(|metadata| metadata.get("name")?.as_str()) else { return };
        let labels = metadata.and_then(|metadata| metadata.get("labels")?.as_object());
        let labels = labels.into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let all = labels.chain([(NAMESPACE_NAME.to_owned(), name.to_owned())]);
        self.found.namespaces.insert(name.into(), all.collect());
    }

    fn problem(&mut self, path: &Arc<str>, line: usize, why: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(ManifestProblem { path: path.clone(), line, why });
        }
    }
}

fn text(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(from, LONGEST), &mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) >= LONGEST {
        return Err(io::Error::other(format!("it is longer than {} MiB", LONGEST >> 20)));
    }
    Ok(text)
}

/// The line and column that serde tells are those of our own JSON.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(why, _)| why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::settings::sample::settings;

    fn read(text: &str) -> Result<Collection, Vec<ManifestProblem>> {
        let settings = settings(Duration::from_secs(1));
        let mut manifests = Manifests::new(&settings, "landfall", "default");
        manifests.text("all.yaml", text);
        manifests.done()
    }

    #[test]
    fn every_object_that_makes_pods_is_found_with_the_line_of_each_image() {
        let text = r"apiVersion: v1
kind: Namespace
metadata: {name: bank, labels: {tier: regulated}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: bank}
spec:
  template:
    spec:
      containers:
      - name: web
        image: web:1
---
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: nightly}
  spec:
    jobTemplate:
      spec:
        template:
          spec:
            initContainers:
            - {name: a, image: 'a:1'}
            volumes:
            - name: model
              image:
                reference: model:1
- apiVersion: v1
  kind: Pod
  metadata: {generateName: once-, namespace: kube-system}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: x}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
---
replicas: 3
";
        let found = read(text).unwrap();
        let all: Vec<_> = found
            .iter()
            .map(|workload| {
                let Source::File(origin) = &workload.source else { panic!("a file") };
                let pod: crate::pod::Pod<'_> =
                    serde_json::from_str(workload.to_create().next().unwrap()).unwrap();
                let images: Vec<_> = pod
                    .slots()
                    .map(|slot| format!("{}:{}", slot.image, origin.line_of(&slot.pointer())))
                    .collect();
                (format!("{} {}/{}", workload.kind, workload.namespace, workload.name), origin.line, images)
            })
            .collect();
        assert_eq!(
            all,
            [
                ("Deployment bank/web".to_owned(), 5, vec!["web:1:13".to_owned()]),
                (
                    "CronJob default/nightly".to_owned(),
                    18,
                    vec!["a:1:27".to_owned(), "model:1:31".to_owned()]
                ),
            ]
        );
        assert_eq!(found.left_alone.get("kube-system"), Some(&1));
        assert_eq!(found.custom.get("Rollout.argoproj.io"), Some(&1));
        let skipped: Vec<_> = found.skipped.keys().map(|kind| &**kind).collect();
        assert_eq!(skipped, ["(no object of Kubernetes)", "Ingress", "Namespace"]);
        let expected = [("tier", "regulated"), (NAMESPACE_NAME, "bank")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(found.namespaces["bank"], expected.into());
        assert!(found.is_complete());
    }

    #[test]
    fn what_is_broken_is_told_with_file_and_line() {
        for (text, expected) in [
            ("a: [1", "all.yaml:1: it is no YAML"),
            ("kind: Pod\nimage: {{ .Values.image }}:1\nx: [\n", "render the chart first"),
            (
                "\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: web}\n",
                "all.yaml:2: Pod `a` cannot be understood: invalid type: string \"web\", expected an array",
            ),
            ("kind: Pod\napiVersion: v1\n", "all.yaml:1: a Pod has no name"),
            ("kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\n", "Job `a` has no template of Pods"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said[0].to_string().contains(expected), "{text}: {}", said[0]);
        }
    }

    #[test]
    fn a_directory_is_read_whole_but_for_what_must_be_rendered() {
        let room = tempfile::tempdir().unwrap();
        let pod = |name: &str| {
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: []}}\n")
        };
        for (file, text) in [
            ("b.yml", pod("b")),
            ("a/a.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}"#.to_owned()),
            (".git/c.yaml", "[".to_owned()),
            ("readme.md", "[".to_owned()),
            ("chart/Chart.yaml", "name: x\n".to_owned()),
            ("chart/templates/x.yaml", "{{ if }}\n".to_owned()),
            ("kustomization.yaml", "images: []\n".to_owned()),
        ] {
            let path = room.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let settings = settings(Duration::from_secs(1));
        let mut manifests = Manifests::new(&settings, "landfall", "shop");
        manifests.read(room.path()).unwrap();
        let found = manifests.done().unwrap();
        let names: Vec<_> = found.iter().map(|one| (&*one.namespace, &*one.name)).collect();
        assert_eq!(names, [("shop", "a"), ("shop", "b")]);
        assert!(!found.is_complete());
        assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
        let mut chart = Manifests::new(&settings, "landfall", "shop");
        chart.read(&room.path().join("chart")).unwrap();
        assert!(chart.done().unwrap_err()[0].why.contains("helm template"));
        assert!(
            Manifests::new(&settings, "landfall", "shop").read(&room.path().join("nothing.yaml")).is_err()
        );
    }
}
