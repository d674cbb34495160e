//! Facts of artifacts: recorded answers, and answers by hand.

use serde_json::json;

use super::*;
use crate::harbor::recordings::{Response, named};
use crate::harbor::replay::{Script, image_of, soon};

fn digest(byte: u8) -> Digest {
    Digest::Sha256([byte; 32])
}

#[test]
fn recorded_artifacts() {
    for (name, tags, accessories) in [
        ("m05-artifact-in-B-not-scanned", Some(1), 0),
        ("a03c-image-scanned-all-with", Some(1), 0),
        ("j16-api-signed-with-accessory", Some(1), 1),
        ("j17-api-signed-index-with-accessory", Some(1), 1),
        ("x02-B-signed-index", Some(1), 1),
    ] {
        let (_, digest) = image_of(name);
        let found = facts(&named(name).response().body(), &digest).unwrap();
        let held = match &found.held {
            Held::Tags(tags) => Some(tags.len()),
            _ => None,
        };
        assert_eq!((held, found.accessories.len()), (tags, accessories), "{name}");
        assert!(found.pushed.is_some(), "{name}");
        assert!(found.accessories.iter().all(|accessory| &*accessory.kind == "signature.cosign"), "{name}");
    }
}

#[test]
fn every_recorded_artifact_can_be_read() {
    let artifacts = crate::harbor::recordings::all().iter().filter(|recording| {
        let path = recording.path().split('?').next().unwrap_or_default();
        let found = recording.response.as_ref().is_some_and(|response| response.status == 200);
        found
            && path.contains("/artifacts/sha256:")
            && path.rsplit('/').next().unwrap().starts_with("sha256:")
    });
    let mut read = 0;
    for recording in artifacts {
        let (_, digest) = image_of(&recording.name);
        if recording.response().json()["digest"] == digest.to_string() {
            facts(&recording.response().body(), &digest).unwrap();
            read += 1;
        }
    }
    assert!(read > 80, "{read}");
}

#[test]
fn what_is_missing_null_or_hostile() {
    let read = |mut body: serde_json::Value| {
        body["digest"] = digest(1).to_string().into();
        facts(body.to_string().as_bytes(), &digest(1))
    };
    for nothing in [
        json!({}),
        json!({"tags": null, "accessories": null, "push_time": null}),
        json!({"tags": [], "accessories": [], "push_time": "0001-01-01T00:00:00.000Z"}),
        json!({"tags": [{}], "accessories": [{"digest": "no digest"}, {}], "push_time": "yesterday"}),
    ] {
        let expected = Facts { pushed: None, held: Held::ByNothing, accessories: Vec::new() };
        assert_eq!(read(nothing.clone()).unwrap(), expected, "{nothing}");
    }
    let many: Vec<_> = (0..2000).map(|number| json!({"name": format!("v{number}")})).collect();
    let Held::Tags(tags) = read(json!({"tags": many})).unwrap().held else { panic!() };
    assert_eq!(tags.len(), MOST);
    let odd =
        json!({"accessories": [{"digest": digest(2).to_string(), "type": "a\u{202e}\n".repeat(9_000)}]});
    assert!(read(odd).unwrap().accessories[0].kind.chars().count() <= 300);
    for wrong in [json!({"tags": {}}), json!({"tags": [["v1"]]}), json!({"push_time": 7})] {
        assert!(matches!(read(wrong.clone()), Err(Malformed::Json { .. })), "{wrong}");
    }
    assert!(matches!(facts(b"<html>", &digest(1)), Err(Malformed::Json { .. })));
    assert!(matches!(facts(b"{}", &digest(1)), Err(Malformed::Field { .. })));
    let other = json!({"digest": digest(2).to_string()}).to_string();
    assert!(matches!(facts(other.as_bytes(), &digest(1)), Err(Malformed::OtherDigest { .. })));
}

#[tokio::test]
async fn without_a_tag_it_asks_whether_an_index_lists_it() {
    let app = Repository::new("priv/team/app");
    let list = "/api/v2.0/projects/priv/repositories/team%252Fapp/artifacts";
    let (one, wanted) = (digest(1), digest(1));
    let artifact = json!({"digest": one.to_string(), "push_time": "2026-07-01T00:00:00.000Z"}).to_string();
    let ok = |body: &str| Response::new(200, "application/json", body);
    let refused = r#"{"errors":[{"code":"FORBIDDEN","message":"robot$x"}]}"#;
    let absent = r#"{"errors":[{"code":"NOT_FOUND","message":"artifact priv/team/app@x not found"}]}"#;
    for (answer, held) in [
        (ok("[]"), Some(Held::ByAnother)),
        (ok("null"), Some(Held::ByAnother)),
        (ok(&format!("[{artifact}]")), Some(Held::ByNothing)),
        (Response::new(403, "application/json", refused), Some(Held::Untold)),
        (Response::new(404, "application/json", absent), None),
    ] {
        let replay = Script::of("minrobot", &[])
            .at("GET", &format!("{list}/{one}?with_tag=true&with_accessory=true"), ok(&artifact))
            .at("GET", &format!("{list}?q=digest%3D{one}&page_size=1"), answer)
            .play()
            .await;
        let found = replay.harbor.facts(&app, &wanted, soon()).await.unwrap();
        assert_eq!(found.map(|facts| facts.held), held);
    }
}
