//! The watch with real files, replaced as the kubelet does it.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

const GOOD: &str = "site: ams\nregistries:\n  ams: {host: one.example.com, site: ams, kind: harbor}\n";

fn clock() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn host(handle: &Handle) -> String {
    handle.snapshot().settings.registries.values().next().unwrap().host.to_string()
}

/// As the kubelet does: `landfall.yaml -> ..data/landfall.yaml`, `..data -> ..<revision>`, swapped by rename.
fn project(mount: &Path, revision: &str, text: &str) {
    let folder = mount.join(format!("..{revision}"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("landfall.yaml"), text).unwrap();
    symlink(format!("..{revision}"), mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
}

#[tokio::test]
async fn the_kubelet_swaps_twice() {
    let mount = tempfile::tempdir().unwrap();
    let mount = mount.path();
    project(mount, "1", GOOD);
    symlink("..data/landfall.yaml", mount.join("landfall.yaml")).unwrap();
    let mut watch = Watch::open(mount.join("landfall.yaml"), Files::Check, clock).unwrap();
    let handle = watch.handle();
    assert_eq!(watch.poll().await, Polled::Unchanged);
    assert_eq!(handle.snapshot().generation, 1);

    for (revision, name) in [("2", "two"), ("3", "three")] {
        project(mount, revision, &GOOD.replace("one", name));
        std::fs::remove_dir_all(mount.join(format!("..{}", revision.parse::<u32>().unwrap() - 1))).unwrap();
        assert_eq!(watch.poll().await, Polled::Published);
        assert_eq!(host(&handle), format!("{name}.example.com"));
        assert_eq!(handle.snapshot().generation.to_string(), revision);
        assert_eq!(watch.poll().await, Polled::Unchanged);
    }
}

#[tokio::test]
async fn a_bad_file_changes_nothing_but_the_condition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("landfall.yaml");
    std::fs::write(&path, GOOD).unwrap();
    let mut watch = Watch::open(path.clone(), Files::Check, clock).unwrap();
    let handle = watch.handle();

    std::fs::write(&path, "site: nowhere\n").unwrap();
    assert_eq!(watch.poll().await, Polled::Refused);
    assert_eq!(host(&handle), "one.example.com");
    assert!(
        matches!(&*handle.condition(), Condition::Refused { problems, .. } if problems.errors().count() > 0)
    );

    // The same text is not parsed again: the condition is the very same object.
    let condition = handle.condition();
    assert_eq!(watch.poll().await, Polled::Refused);
    assert!(Arc::ptr_eq(&condition, &handle.condition()));

    std::fs::remove_file(&path).unwrap();
    assert_eq!(watch.poll().await, Polled::Refused);
    assert!(!Arc::ptr_eq(&condition, &handle.condition()), "now it cannot be read");
    std::fs::write(&path, "site: nowhere\n").unwrap();
    assert_eq!(watch.poll().await, Polled::Refused);

    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(watch.poll().await, Polled::Unchanged);
    assert!(matches!(&*handle.condition(), Condition::InForce(_)));
    assert_eq!(handle.snapshot().generation, 1);
}

/// A Secret that is mounted a moment after the ConfigMap whose text names it.
#[tokio::test]
async fn a_text_is_accepted_once_the_file_that_it_names_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("landfall.yaml");
    std::fs::write(&path, GOOD).unwrap();
    let mut watch = Watch::open(path.clone(), Files::Check, clock).unwrap();
    let token = folder.path().join("token");
    let credentials = format!("kind: harbor, credentials: {{tokenFile: {}}}", token.display());
    std::fs::write(&path, GOOD.replace("kind: harbor", &credentials)).unwrap();
    assert_eq!(watch.poll().await, Polled::Refused);
    std::fs::write(&token, "t").unwrap();
    assert_eq!(watch.poll().await, Polled::Published);
}

#[test]
fn without_a_first_snapshot_there_is_no_watch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("landfall.yaml");
    let problems = Watch::open(path, Files::Check, clock).unwrap_err();
    assert_eq!(problems.problems.len(), 1);
}
