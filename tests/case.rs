//! From an image as written to its Places, through a configuration file, as `landfall check` reads it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use landfall::facade::config::{self, Files};
use landfall::facade::domain::case::{Case, Subject};
use landfall::facade::domain::case::{Exemption, PodContext, Pull, with_enforcement};
use landfall::facade::domain::policy::{Enforcement, Labels};
use landfall::facade::domain::route::Collision;
use landfall::facade::domain::settings::Settings;

const FILE: &str = r#"
site: ams
near: {ams: [iad]}
registries:
  fra: {host: harbor.fra.example.com, site: fra, kind: harbor}
  iad: {host: harbor.iad.example.com, site: iad, kind: harbor}
  ams: {host: harbor.ams.example.com, site: ams, kind: harbor, aliases: [harbor.example.com]}
  edge: {host: "registry.edge:5000", site: ams, kind: distribution}
routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas:
      - {registry: ams, namespace: mirror, flatten: 1}
      - {registry: iad, namespace: "", tags: "v*"}
      - {registry: edge, namespace: "", exclude: "production/scratch/**"}
  - name: web
    primary: {registry: fra, repositories: "production/web/**"}
    replicas: [{registry: edge, namespace: web, flatten: 2}]
  - name: flat
    primary: {registry: fra, repositories: "tools/**"}
    replicas: [{registry: ams, namespace: flat, flatten: all}]
exclude: {images: ["harbor.fra.example.com/production/legacy/**"]}
policies:
  - metadata: {name: regulated}
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}
      enforcement: Enforce
      onMissing: Block
  - metadata: {name: watching}
    spec:
      namespaceSelector: {}
      enforcement: Observe
      onMissing: Block
"#;

fn settings() -> Settings {
    config::parse(FILE, "test.yaml", Files::Skip, now()).unwrap().settings
}

fn now() -> jiff::Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn labels(namespace: &str) -> Labels {
    Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())])
}

fn case_for(settings: &Settings, namespace: &str, image: &str, pull: Pull, exemption: Exemption) -> Case {
    let now = now();
    let regime = settings.regime(&labels(namespace), now);
    let platforms = Arc::clone(&settings.platforms);
    settings.case_for(image, pull, &PodContext { regime, platforms, exemption, now })
}

/// `name: route [registry/repository …] named`, with the named Place in parentheses; or why it is kept.
fn shown(case: &Case) -> String {
    let routed = match &case.subject {
        Subject::Kept(reason) => return format!("{reason:?}"),
        Subject::Routed(routed) => routed,
    };
    let places = routed.iter().map(|(ix, place)| {
        let place = format!("{}/{}", place.registry.name, place.repository);
        if ix == routed.named { format!("({place})") } else { place }
    });
    format!("{} {}: {}", routed.route, case.name, places.collect::<Vec<_>>().join(" "))
}

#[test]
fn references_find_their_route_and_places_in_order() {
    let settings = settings();
    for (image, expected) in [
        (
            "harbor.fra.example.com/production/team/app:v1",
            "production harbor.fra.example.com/production/team/app: ams/mirror/team/app edge/production/team/app \
             iad/production/team/app (fra/production/team/app)",
        ),
        // A tag filter leaves a Place out, but never for a digest.
        (
            "HARBOR.fra.example.com:443/production/team/app:1",
            "production harbor.fra.example.com/production/team/app: ams/mirror/team/app edge/production/team/app \
             (fra/production/team/app)",
        ),
        (
            "harbor.fra.example.com/production/scratch/app@sha256:\
             e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582",
            "production harbor.fra.example.com/production/scratch/app: ams/mirror/scratch/app \
             iad/production/scratch/app (fra/production/scratch/app)",
        ),
        // The more specific primary wins, whatever the order of the file.
        (
            "harbor.fra.example.com/production/web/shop/app:1",
            "web harbor.fra.example.com/production/web/shop/app: edge/web/shop/app (fra/production/web/shop/app)",
        ),
        // A replica, by an alias: inverted, and first among the local ones.
        (
            "harbor.example.com/mirror/team/app:1",
            "production harbor.fra.example.com/production/team/app: (ams/mirror/team/app) \
             edge/production/team/app fra/production/team/app",
        ),
        (
            "registry.edge:5000/production/team/app:1",
            "production harbor.fra.example.com/production/team/app: (edge/production/team/app) \
             ams/mirror/team/app fra/production/team/app",
        ),
        // Flattened beyond recall: judged at that Place alone.
        ("harbor.ams.example.com/flat/app:1", "flat harbor.ams.example.com/flat/app: (ams/flat/app)"),
        (
            "harbor.fra.example.com/tools/a/b:1",
            "flat harbor.fra.example.com/tools/a/b: ams/flat/b (fra/tools/a/b)",
        ),
        // Boundaries of hosts and components.
        ("harbor.fra.example.com.evil.io/production/team/app:1", "NotRouted"),
        ("harbor.fra.example.com:444/production/team/app:1", "NotRouted"),
        ("harbor.fra.example.com/productions/team/app:1", "NotRouted"),
        ("harbor.ams.example.com/mirrors/team/app:1", "NotRouted"),
        ("nginx", "NotRouted"),
        ("auto", "NotRouted"),
        ("Not A Ref", "Unparsable"),
        ("re_g.io/production/app:1", "Unparsable"),
        ("harbor.fra.example.com/production/legacy/app:1", "Excluded"),
    ] {
        let case = case_for(&settings, "shop", image, Pull::Registry, Exemption::None);
        assert_eq!(shown(&case), expected, "{image}");
    }
}

#[test]
fn what_admins_and_tenants_set_does_not_open_what_a_policy_closes() {
    let settings = settings();
    let legacy = "harbor.fra.example.com/production/legacy/app:1";
    let app = "harbor.fra.example.com/production/scratch/app:1";
    let all = "ams/mirror/scratch/app edge/production/scratch/app iad/production/scratch/app \
               (fra/production/scratch/app)";
    for (image, pull, exemption, open, enforced) in [
        (legacy, Pull::Registry, Exemption::None, "Excluded", "iad/production/legacy/app"),
        (app, Pull::Never, Exemption::None, "PullNever", all),
        (app, Pull::Registry, Exemption::Skip, "Exempt", all),
        (app, Pull::Registry, Exemption::None, "ams/mirror/scratch/app (fra/production/scratch/app)", all),
    ] {
        let in_shop = shown(&case_for(&settings, "shop", image, pull, exemption));
        assert!(in_shop.ends_with(open), "{in_shop}");
        let in_bank = shown(&case_for(&settings, "bank", image, pull, exemption));
        assert!(in_bank.contains(enforced), "{in_bank}");
    }
}

#[test]
fn an_observing_policy_is_judged_apart_and_never_part_of_the_regime() {
    let settings = settings();
    let names = |namespace: &str| {
        let labels = labels(namespace);
        let regime = settings.regime(&labels, now());
        let enforcing: Vec<_> = regime.enforcing.iter().map(|policy| policy.name.to_string()).collect();
        let observing = with_enforcement(Enforcement::Observe, settings.selecting(&labels), namespace, now())
            .map(|policy| policy.name.to_string());
        (enforcing, observing.collect::<Vec<_>>())
    };
    assert_eq!(names("bank"), (vec!["regulated".to_owned()], vec!["watching".to_owned()]));
    assert_eq!(names("shop"), (vec![], vec!["watching".to_owned()]));
}

#[test]
fn beyond_its_filters_a_policy_takes_no_place_for_one_where_sources_cannot_meet() {
    const TWINS: &str = r#"
site: ams
registries:
  fra: {host: harbor.fra.example.com, site: fra, kind: harbor}
  ams: {host: harbor.ams.example.com, site: ams, kind: harbor}
routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas: [{registry: ams, namespace: mirror, flatten: 1, repositories: "production/shop/**"}]
  - name: staging
    primary: {registry: fra, repositories: "staging/**"}
    replicas: [{registry: ams, namespace: mirror, flatten: 1, repositories: "staging/lab/**"}]
policies:
  - metadata: {name: regulated}
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}
      enforcement: Enforce
      onMissing: Block
"#;
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let settings = config::parse(TWINS, "test.yaml", Files::Skip, now).unwrap().settings;
    let case = |image| case_for(&settings, "bank", image, Pull::Registry, Exemption::None);
    let collisions = |case: &Case| match &case.subject {
        Subject::Kept(reason) => panic!("{reason:?}"),
        Subject::Routed(routed) => routed.places.iter().map(|place| place.collision).collect::<Vec<_>>(),
    };
    // What is copied from `production` cannot meet what is copied from `staging` …
    let copied = case("harbor.fra.example.com/production/shop/app:1");
    assert_eq!(collisions(&copied), [Collision::Impossible, Collision::Impossible]);
    // … but where `production/lab/app` would lie, there lies `staging/lab/app`.
    let beyond = case("harbor.fra.example.com/production/lab/app:1");
    assert_eq!(collisions(&beyond), [Collision::Possible, Collision::Impossible]);
    // And who names it there means the image that is copied there.
    let there = case("harbor.ams.example.com/mirror/lab/app:1");
    assert_eq!(
        shown(&there),
        "staging harbor.fra.example.com/staging/lab/app: (ams/mirror/lab/app) fra/staging/lab/app"
    );
}
