//! Tests that a long list costs memory for what is used of it, and that what was not kept is counted.

use super::*;
use crate::pod::{AdmissionKind, OldEntries};

/// The bytes that the lists of a Pod hold.
fn held(pod: &Pod<'_>) -> usize {
    fn of<T>(list: &ImageList<T>) -> usize {
        list.kept.capacity() * size_of::<(usize, T)>()
    }
    let Spec { containers, init_containers, ephemeral_containers, volumes, image_pull_secrets, .. } =
        &pod.spec;
    let names = image_pull_secrets.as_ref().map_or(0, |secrets| secrets.names.capacity());
    of(containers)
        + of(init_containers)
        + of(ephemeral_containers)
        + of(volumes)
        + names * size_of::<Cow<'_, str>>()
}

fn pod_with(field: &str, items: &str) -> String {
    format!(r#"{{"spec":{{"{field}":[{items}]}}}}"#)
}

#[test]
fn a_list_of_nothing_costs_nothing() {
    for (item, count) in
        [("{}", 900_000), ("null", 900), (r#"{"name":null}"#, 900), (r#"{"x":{"name":"a"}}"#, 900)]
    {
        let items = vec![item; count].join(",");
        for field in [
            "containers",
            "initContainers",
            "ephemeralContainers",
            "volumes",
            "imagePullSecrets",
            "tolerations",
        ] {
            let body = pod_with(field, &items);
            let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
            assert_eq!(held(&pod), 0, "{field}: {item}");
            assert_eq!((pod.slots().count(), pod.unread(AdmissionKind::Create)), (0, 0));
        }
    }
}

#[test]
fn a_list_of_images_is_kept_up_to_the_bound_and_counted_beyond_it() {
    for (field, item, ephemeral) in [
        ("containers", r#"{"name":"c","image":"a"}"#, 0),
        ("initContainers", r#"{"image":"\u003c"}"#, 0),
        ("ephemeralContainers", r#"{"image":"a"}"#, 15_904),
        ("volumes", r#"{"image":{"reference":"a"}}"#, 0),
    ] {
        let body = pod_with(field, &vec![item; 20_000].join(",{},"));
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        assert!(held(&pod) < 1024 * 1024, "{field}: {}", held(&pod));
        let last = pod.slots().last().unwrap();
        assert_eq!(
            (pod.slots().count(), last.pointer().contains("/8190/image")),
            (MOST_IMAGES, true),
            "{field}"
        );
        assert_eq!(pod.unread(AdmissionKind::Create), 20_000 - MOST_IMAGES);
        assert_eq!(pod.unread(AdmissionKind::Ephemeral), ephemeral);
    }
}

#[test]
fn an_item_beyond_the_bound_must_still_be_valid() {
    let body = pod_with("containers", &(vec![r#"{"image":"a"}"#; 5000].join(",") + r#",{"image":7}"#));
    assert!(serde_json::from_str::<Pod<'_>>(&body).is_err());
}

#[test]
fn pull_secrets_are_kept_up_to_the_bound_and_found_among_them() {
    let names: Vec<String> = (0..200_000).rev().map(|n| format!(r#"{{"name":"s{n}"}}"#)).collect();
    let body = pod_with("imagePullSecrets", &names.join(","));
    let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    assert!(held(&pod) < 256 * 1024, "{}", held(&pod));
    for (name, carried) in [("s199999", true), ("s195904", true), ("s195903", false), ("s", false)] {
        assert_eq!(pod.carries(&PullSecret::new(name)), carried, "{name}");
    }
    // Each name is kept once, so that the same name many times costs no time for each image.
    let body = pod_with("imagePullSecrets", &vec![r#"{"name":"s"}"#; 4000].join(","));
    let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    assert_eq!(pod.spec.image_pull_secrets.as_ref().map(|secrets| secrets.names.len()), Some(1));
    assert!(pod.carries(&PullSecret::new("s")));
}

#[test]
fn what_counts_is_found_beyond_the_bound_once_and_nothing_else_is_kept() {
    let names = |tail: &str| format!("[{}{tail}]", r#"{"name":"s"},{},null,"#.repeat(5000));
    let list = names(r#"{"name":"ours"},{"name":"ou\u0072s"},{"name":"other"},{"name":"theirs"}"#);
    let body = format!(r#"{{"spec":{{"imagePullSecrets":{list}}}}}"#);
    let mut pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    let secrets = pod.spec.image_pull_secrets.as_mut().unwrap();
    assert!(secrets.is_beyond());
    let raw: &RawValue = serde_json::from_str(&list).unwrap();
    secrets.find(raw, |name| ["ours", "theirs", "s"].contains(&name)).unwrap();
    assert_eq!(secrets.names, ["ours", "s", "theirs"]);
    assert!(pod.carries(&PullSecret::new("ours")) && !pod.carries(&PullSecret::new("other")));
}

#[test]
fn an_annotation_of_many_or_large_members_is_read_up_to_what_landfall_would_write() {
    let entry = |why: &str| format!(r#"{{"was":"fra/web:1","is":"ams/web:1","why":"{why}"}}"#);
    let kept = |annotation: String| {
        let body = serde_json::json!({
            "metadata": {"annotations": {IMAGES: annotation}},
            "spec": {"containers": [{"name": "web", "image": "ams/web:1"}]},
        })
        .to_string();
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        let slot = pod.slots().next().unwrap();
        OldEntries::of(&pod).kept(&slot, |_| true).is_some()
    };
    let ours = format!(r#""containers/web":{}"#, entry("Local"));
    assert!(kept(format!("{{{ours}}}")));
    let fillers = |n: usize| (0..n).map(|n| format!(r#""x{n}":1,"#)).collect::<String>();
    assert!(kept(format!("{{{}{ours}}}", fillers(64))));
    assert!(!kept(format!("{{{}{ours}}}", fillers(65))));
    assert!(kept(format!("{{{ours},{}\"omitted\":3}}", fillers(300_000))));
    let large =
        ours.replace(r#""why""#, &format!(r#""findings":[{}"Missing"],"why""#, r#""Missing","#.repeat(300)));
    assert!(!kept(format!("{{{large}}}")), "no entry of Landfall is that large");
}
