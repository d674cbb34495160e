//! The document and its bytes, whoever wrote them.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::document::Broken;
use super::document::{
    Answer, Answering, Finished, Form, HasScanner, Held, Learned, Scanned, State, VERSION, Wide,
};
use super::*;
use crate::domain::digest::Digest;
use crate::domain::scan::Severity;

/// As many bytes as there is room for, in ConfigMaps.
const MOST: usize = 8 * 900 * 1024;

/// An inventory as a cluster of so many images has it: half of them named by tag, a tenth of them indexes of two platforms.
fn inventory(images: u32) -> Inventory {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let mut digests = Vec::new();
    let mut digest = || {
        let number = u32::try_from(digests.len()).unwrap();
        // As a hash is: nothing to compress.
        let bytes: [u8; 32] =
            std::array::from_fn(|n| fastrand::Rng::with_seed(u64::from(number) * 32 + n as u64).u8(..));
        digests.push(Digest::Sha256(bytes));
        number
    };
    let scan = |digest, n: u32| {
        let finished = Some(now - jiff::SignedDuration::from_millis(i64::from(n) * 7919));
        let report = Some(Finished { severity: Severity::Low, finished, list: None });
        let scanned = Scanned { scanner: HasScanner::Present, state: State::Done, report };
        Learned::Scan(digest, Wide::Summary, Box::new(scanned))
    };
    let mut repositories = Vec::new();
    for n in 0..images {
        let repository = format!("production/team-{:02}/app-{n:05}", n % 40);
        let (mut here, mut there) = (Vec::new(), Vec::new());
        let whole = digest();
        let (is_tag, is_index) = (n % 2 == 0, n % 10 == 0);
        let form = if is_index { Form::Index } else { Form::Image };
        if is_tag {
            let tag: Box<str> = format!("1.{}.{}", n % 30, n % 7).into();
            here.push(Learned::Tag(tag.clone(), whole, form));
            there.push(Learned::Meaning(tag, whole));
        }
        here.push(Learned::Digest(whole, form));
        if is_index {
            let children = [digest(), digest()];
            here.push(Learned::Children(
                whole,
                children.iter().map(|child| (*child, Some(child % 2))).collect(),
            ));
            for child in children {
                here.extend([Learned::Digest(child, Form::Image), scan(child, n)]);
            }
        } else {
            here.push(scan(whole, n));
        }
        for (at, answers) in [(0, here), (1, there)].into_iter().filter(|(_, answers)| !answers.is_empty()) {
            let answers = answers.into_iter().map(|answer| Answer(n % 900, answer)).collect();
            repositories.push(Held { at, repository: repository.clone(), answers });
        }
    }
    let registry =
        |name: &str| Answering { name: name.to_owned(), fingerprint: "0123456789abcdef".repeat(2) };
    let platform = |architecture: &str| ("linux".to_owned(), architecture.to_owned(), None);
    Inventory {
        version: VERSION,
        site: "ams".to_owned(),
        written: now,
        sweep: now,
        registries: vec![registry("ams"), registry("fra")],
        digests,
        platforms: vec![platform("amd64"), platform("arm64")],
        repositories,
        damage: Vec::new(),
        left_out: 0,
    }
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_written_is_read() {
    let mut inventory = inventory(100);
    let digest = inventory.digests[0];
    let damage = |layer| Broken {
        registry: "ams".to_owned(),
        repository: "p/r".to_owned(),
        digest,
        layer,
        seen: inventory.written,
    };
    inventory.damage = vec![damage(Some(digest)), damage(None)];
    let (bytes, written) = encode(inventory.clone(), MOST);
    assert_eq!(written, inventory);
    assert_eq!(decode(&bytes), Ok(inventory));
}

#[test]
fn thousands_of_images_fit_and_what_does_not_is_counted() {
    let mut sizes = Vec::new();
    for images in [6_500, 50_000] {
        let inventory = inventory(images);
        let text = serde_json::to_vec(&inventory).unwrap().len();
        let (bytes, written) = encode(inventory, MOST);
        assert_eq!(written.left_out, 0);
        sizes.push((images, written.answers(), text, bytes.len()));
    }
    eprintln!("images, answers, bytes unpacked, bytes packed: {sizes:?}");
    assert!(sizes[0].3 <= 900 * 1024, "one ConfigMap is enough, so that a write is atomic: {sizes:?}");
    assert!(sizes[1].2 < 24 << 20, "far from the bound of what is unpacked: {sizes:?}");

    let all = inventory(1000);
    let (bytes, written) = encode(all.clone(), 20_000);
    assert!(bytes.len() <= 20_000 && bytes.len() > 12_000, "{} bytes", bytes.len());
    assert_eq!(written.repositories.len() + written.left_out, all.repositories.len());
    assert_eq!(
        written.repositories[..],
        all.repositories[..written.repositories.len()],
        "the last are left out"
    );
    assert_eq!(decode(&bytes), Ok(written.clone()));
    let most = written.digests.len();
    assert!(most < all.digests.len() && written.digests[..] == all.digests[..most]);
    // Nothing fits: it is empty, and says so.
    let (_, nothing) = encode(all.clone(), 10);
    assert_eq!((nothing.answers(), nothing.left_out), (0, all.repositories.len()));
}

#[test]
fn another_age_is_the_same_content_and_anything_else_is_not() {
    let before = inventory(10);
    let mut later = before.clone();
    later.written += jiff::SignedDuration::from_mins(1);
    later.sweep = later.written;
    later.repositories[0].answers[0].0 += 60;
    assert_eq!(before.content(), later.content());
    let changes: [fn(&mut Inventory); 4] = [
        |one| one.digests.reverse(),
        |one| drop(one.repositories[0].answers.pop()),
        |one| one.registries[0].fingerprint.push('0'),
        |one| {
            let (digest, seen) = (one.digests[0], one.written);
            one.damage.push(Broken {
                registry: "ams".to_owned(),
                repository: "p/r".to_owned(),
                digest,
                layer: None,
                seen,
            });
        },
    ];
    for change in changes {
        let mut changed = before.clone();
        change(&mut changed);
        assert_ne!(before.content(), changed.content());
    }
}

#[test]
fn another_version_is_named_whatever_it_looks_like() {
    for text in [json!({"version": 2}), json!({"version": 7, "answers": {"of": "another shape"}})] {
        let found = u32::try_from(text["version"].as_u64().unwrap()).unwrap();
        assert_eq!(decode(&packed(text.to_string().as_bytes())), Err(Unusable::OtherVersion { found }));
    }
    let mut same_shape = inventory(1);
    same_shape.version = 3;
    assert_eq!(decode(&encode(same_shape, MOST).0), Err(Unusable::OtherVersion { found: 3 }));
}

#[test]
fn what_was_made_to_be_unpacked_is_refused() {
    // A few KiB, which would be 40 MiB: blanks before a document, and a list without end.
    for (head, filling) in [("", b' '), (r#"{"version":1,"site":""#, b'a')] {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(head.as_bytes()).unwrap();
        for _ in 0..40 {
            encoder.write_all(&[filling; 1 << 20]).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 900 * 1024);
        assert_eq!(decode(&bomb), Err(Unusable::TooLarge), "{head}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_read_is_a_panic(bytes: Vec<u8>, at: prop::sample::Index, cut: prop::sample::Index) {
        let _ = decode(&bytes);
        let _ = decode(&packed(&bytes));
        let whole = encode(inventory(5), MOST).0;
        prop_assert!(decode(&whole[..cut.index(whole.len())]).is_err());
        let mut flipped = whole.clone();
        flipped[at.index(whole.len())] ^= 1 << (bytes.len() % 8);
        // zlib's checksum finds it, or it was no part of the document.
        let read = decode(&flipped);
        prop_assert!(read.is_err() || read == decode(&whole));
    }
}
