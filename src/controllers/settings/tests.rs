//! The settings with real files, and policies as objects would bring them.

use std::path::Path;

use jiff::Timestamp;
use prometheus_client::registry::Registry;

use super::*;
use crate::config::Files;
use crate::domain::case::{Exemption, PodContext};
use crate::domain::policy::Labels;
use crate::evidence::VerdictCache;

const FILE: &str = "site: ams
registries:
  ams: {host: one.example.com, site: ams, kind: harbor}
  fra: {host: two.example.com, site: fra, kind: harbor}
routes:
  - {name: all, primary: {registry: fra, repositories: '**'}, replicas: [{registry: ams}]}
policies:
  - {metadata: {name: strict}, spec: {namespaceSelector: {matchLabels: {tier: bank}}, enforcement: Enforce, onMissing: Block}}
";

fn clock() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

/// A controller of this file, and who sends policies to it.
fn controller(path: &Path, text: &str) -> (SettingsController, watch::Sender<Policies>) {
    std::fs::write(path, text).unwrap();
    of(Watch::open(path.to_owned(), Files::Check, clock).unwrap())
}

fn of(watch: Watch) -> (SettingsController, watch::Sender<Policies>) {
    let (sender, policies) = watch::channel(Policies::default());
    let observatory = Observatory::new(&watch.handle().snapshot().settings, &mut Registry::default());
    let metrics = config::Metrics::default();
    (SettingsController::new(watch, policies, Arc::new(observatory), metrics), sender)
}

/// A policy as an object would bring it.
fn policy(name: &str, settings: &Settings) -> Arc<Policy> {
    let text = format!(
        "{{metadata: {{name: {name}}}, spec: {{namespaceSelector: {{matchLabels: {{tier: shop}}}}, enforcement: Enforce, onMissing: Block}}}}"
    );
    config::policy(&text, name, &settings.defaults, &[], clock())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .0
}

/// The names of the policies, and whether each applies to the namespaces of shops.
fn names(settings: &Settings) -> Vec<(String, bool)> {
    let shop: Labels = [("tier".to_owned(), "shop".to_owned())].into();
    let selecting = settings.regime(&shop, clock());
    let selects = |policy: &Arc<Policy>| selecting.enforcing.iter().any(|one| one.name == policy.name);
    settings.policies.iter().map(|policy| (policy.name.to_string(), selects(policy))).collect()
}

#[tokio::test]
async fn policies_from_objects_join_those_of_the_file_which_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("landfall.yaml");
    let (mut controller, sender) = controller(&path, FILE);
    let doors = controller.settings();
    let before = doors.load_full();
    assert!(Arc::ptr_eq(&before, &controller.file.settings), "without objects it is the file's");

    let verdicts: VerdictCache<()> = VerdictCache::default();
    let context = |settings: &Arc<Settings>| {
        let regime = settings.regime(&Labels::new(), clock());
        let platforms = settings.platforms.clone();
        verdicts
            .context_id(settings, &PodContext { regime, platforms, exemption: Exemption::None, now: clock() })
    };
    let first = context(&before);
    controller.update().await;
    assert_eq!(context(&doors.load_full()), first, "nothing has changed");

    sender.send([policy("strict", &before), policy("shop", &before)].into()).unwrap();
    controller.update().await;
    let after = doors.load_full();
    assert_eq!(names(&after), [("strict".to_owned(), false), ("shop".to_owned(), true)]);
    assert!(Arc::ptr_eq(&before.index, &after.index) && Arc::ptr_eq(&before.routes, &after.routes));
    assert_ne!(context(&after), first, "no verdict that was judged before counts");

    // A new file keeps the objects, and one that is gone leaves.
    std::fs::write(&path, FILE.replace("name: strict", "name: bank")).unwrap();
    controller.watch.poll().await;
    controller.update().await;
    let expected = [("bank", false), ("strict", true), ("shop", true)];
    assert_eq!(names(&doors.load_full()), expected.map(|(name, selects)| (name.to_owned(), selects)));
    sender.send(Policies::default()).unwrap();
    controller.update().await;
    assert_eq!(names(&doors.load_full()), [("bank".to_owned(), false)]);
}

#[tokio::test]
async fn a_failure_leaves_the_old_settings_in_force_and_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("landfall.yaml");
    let (mut controller, sender) = controller(&path, FILE);
    let doors = controller.settings();
    std::fs::write(&path, FILE.replace("one.", "three.")).unwrap();
    controller.watch.poll().await;
    let snapshot = controller.handle.snapshot();
    controller.adopt(&snapshot, |_, _| panic!("on purpose")).await;
    let Standing::Degraded(said) = controller.standing() else { panic!("it is not good") };
    assert!(
        said.contains("generation 1, ") && said.contains("; generation 2 cannot be brought into force: "),
        "{said}"
    );
    assert!(Arc::ptr_eq(&doors.load_full(), &controller.file.settings));

    // The next round tries again.
    controller.update().await;
    assert!(matches!(controller.standing(), Standing::Good(said) if said.contains("generation 2, ")));
    assert!(Arc::ptr_eq(&doors.load_full(), &snapshot.settings));
    drop(sender);
}

#[tokio::test]
async fn the_whole_cause_is_shown_of_a_registry_that_cannot_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    std::fs::write(&bundle, "").unwrap();
    let text = FILE.replace("site: ams, kind", &format!("site: ams, caFile: {}, kind", bundle.display()));
    let path = folder.path().join("landfall.yaml");
    std::fs::write(&path, text).unwrap();
    let watch = Watch::open(path, Files::Check, clock).unwrap();
    std::fs::remove_file(&bundle).unwrap();
    let (controller, _sender) = of(watch);
    let problems = controller.observatory.problems();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    let cause = std::error::Error::source(&problem.error).unwrap().to_string();
    let Standing::Degraded(said) = controller.standing() else { panic!("it is not good") };
    assert!(said.contains("; cannot be asked: ams: ") && said.contains(&cause), "{said}");
}
