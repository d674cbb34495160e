//! Which remedy, and which rule: tables.

use strum::{VariantArray as _, VariantNames as _};

use super::*;
use crate::domain::name::Site;
use crate::domain::pattern::Pattern;
use crate::domain::registry::{CredentialSource, Kind, Service};
use crate::domain::replication::{Filter, On, Remote, Selects, Trigger};

fn registry(name: &str) -> Registry {
    Registry {
        name: RegistryName::new(name),
        host: format!("harbor.{name}.example.com").into(),
        aliases: Vec::new(),
        url: format!("https://harbor.{name}.example.com/").parse().unwrap(),
        realm: None,
        kind: Kind::Harbor,
        site: Site::new(name),
        credentials: CredentialSource::Anonymous,
        healing: None,
        ca_file: None,
        pull_secret: None,
        service: Service::Open,
        requests_per_hour: None,
    }
}

fn rule(name: &str, filters: Vec<Filter>, destination: (&str, i64)) -> Rule {
    Rule {
        id: 1,
        name: name.into(),
        standing: Standing::Enabled,
        trigger: Trigger::OnPush,
        copies: Copies::To(Remote {
            name: "ams".into(),
            url: "https://harbor.ams.example.com".into(),
            kind: "harbor".into(),
        }),
        filters,
        destination: (destination.0.into(), destination.1),
        overrides: true,
        created: None,
        updated: None,
    }
}

fn on(pattern: &str, on: fn(Pattern) -> On) -> Filter {
    Filter { on: on(Pattern::new(pattern).unwrap()), selects: Selects::Matching }
}

fn covers(rules: &[Rule], target: &str, tags: &[&str]) -> Option<(&'static str, Box<str>)> {
    let (primary, replica) = (registry("fra"), registry("ams"));
    let tags: Vec<Box<str>> = tags.iter().map(|tag| Box::from(*tag)).collect();
    let (source, target) = (Repository::new("production/shop/web"), Repository::new(target));
    let way = Way { primary: &primary, source: &source, tags: &tags, replica: &replica, target: &target };
    match covering(rules, &primary.name, &way) {
        Cover::By(rule) => Some(("by", rule.name.clone())),
        Cover::Disabled(rule) => Some(("disabled", rule.name.clone())),
        Cover::TooShallow(rule) => Some(("too shallow", rule.name.clone())),
        Cover::Nothing => None,
    }
}

#[test]
fn a_rule_covers_an_image_by_its_filters_and_by_where_it_puts_it() {
    let by = |name: &str| Some(("by", Box::from(name)));
    let same = ("", -1);
    assert_eq!(covers(&[rule("a", vec![], same)], "production/shop/web", &["1"]), by("a"));
    assert_eq!(covers(&[rule("a", vec![], ("mirror", 1))], "mirror/shop/web", &["1"]), by("a"));
    assert_eq!(covers(&[rule("a", vec![], ("mirror", -1))], "mirror/web", &["1"]), by("a"));
    assert_eq!(covers(&[rule("a", vec![], ("mirror", 1))], "production/shop/web", &["1"]), None);
    let of = |name: &str, pattern: &str| rule(name, vec![on(pattern, On::Name)], same);
    let two = [of("db", "db/**"), of("shop", "production/**")];
    assert_eq!(covers(&two, "production/shop/web", &["1"]), by("shop"));
    let tagged = [rule("tagged", vec![on("v*", On::Tag)], same)];
    assert_eq!(covers(&tagged, "production/shop/web", &["1", "v2"]), by("tagged"));
    assert_eq!(covers(&tagged, "production/shop/web", &[]), None, "a filter of tags drops what has none");
    // To another registry, or kept by another.
    let elsewhere = Copies::To(Remote {
        name: "par".into(),
        url: "https://harbor.par.example.com".into(),
        kind: "harbor".into(),
    });
    assert_eq!(covers(&[Rule { copies: elsewhere, ..two[1].clone() }], "production/shop/web", &["1"]), None);
    let pulls = Copies::From(Remote {
        name: "fra".into(),
        url: "https://harbor.fra.example.com".into(),
        kind: "harbor".into(),
    });
    assert_eq!(covers(&[Rule { copies: pulls, ..two[1].clone() }], "production/shop/web", &["1"]), None);
}

#[test]
fn what_certainly_helps_comes_first_and_then_what_tells_a_person_most() {
    let same = ("", -1);
    let disabled = Rule { standing: Standing::Disabled, ..rule("disabled", vec![], same) };
    let shallow = rule("shallow", vec![], ("mirror", 7));
    let label = Filter { on: On::Other("label".into()), selects: Selects::Matching };
    let perhaps = rule("perhaps", vec![label], same);
    let certain = rule("certain", vec![], same);
    let mut all = vec![disabled, shallow, perhaps, certain];
    for expected in
        [("by", "certain"), ("by", "perhaps"), ("too shallow", "shallow"), ("disabled", "disabled")]
    {
        let found = covers(&all, "production/shop/web", &["1"]).unwrap();
        assert_eq!((found.0, &*found.1), expected);
        all.pop();
    }
}

#[test]
fn a_scan_is_a_remedy_only_for_what_has_no_good_result_and_a_copy_that_is_there() {
    let finding = |kind| Some(GapKind::Finding(kind));
    for kind in FindingKind::VARIANTS {
        let scan = remedy(None, finding(*kind)) == Some(Remedy::Scan);
        let may = matches!(kind, FindingKind::Unscanned | FindingKind::ScanFailed | FindingKind::ScanExpired);
        assert_eq!(scan, may, "{kind}");
        assert_ne!(remedy(finding(FindingKind::Missing), finding(*kind)), Some(Remedy::Scan));
    }
    for kind in [FindingKind::ProxyCache, FindingKind::Refused, FindingKind::PullFailed] {
        assert_eq!(remedy(finding(kind), None), None, "{kind}");
    }
}

#[test]
fn every_outcome_has_a_sentence_of_its_own() {
    let outcomes: Vec<HealOutcome> = HealOutcome::VARIANTS.iter().map(|word| word.parse().unwrap()).collect();
    let said: std::collections::BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.sentence()).collect();
    assert_eq!(said.len(), outcomes.len());
    assert!(said.iter().all(|said| said.len() < 220 && !said.ends_with('.')), "{said:?}");
}
