//! Which rules concern us, and what is wrong with them: tables.

use std::sync::Arc;

use super::*;
use crate::domain::gap::GapSubject;
use crate::domain::mapping::{Flatten, Mapping};
use crate::domain::name::{RouteName, Site};
use crate::domain::registry::{CredentialSource, Kind, Service, SharedRegistry};
use crate::domain::route::{Collision, Pin, Replica, Rewrite, TagProof};
use crate::domain::settings::sample;

const NOW: &str = "2026-07-15T10:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn registry(name: &str, site: &str) -> SharedRegistry {
    Arc::new(Registry {
        name: RegistryName::new(name),
        host: format!("harbor.{name}.example.com").into(),
        aliases: vec![format!("old.{name}.example.com:8443").into()],
        url: format!("http://harbor-core.{name}.svc:8080/").parse().unwrap(),
        realm: None,
        kind: Kind::Harbor,
        site: Site::new(site),
        credentials: CredentialSource::Anonymous,
        ca_file: None,
        pull_secret: None,
        service: Service::Open,
        healing: None,
        requests_per_hour: None,
    })
}

/// Routes from Frankfurt to Amsterdam, which is here, and to Paris, which is not.
fn settings() -> Settings {
    let replica = |registry, serves| Replica {
        registry,
        mapping: Mapping { namespace: "production".into(), flatten: Flatten::Levels(1) },
        filter: crate::domain::route::Filter::default(),
        serves,
        collision: Collision::Impossible,
    };
    let route = |name: &str, repositories: &str, replicas| {
        Arc::new(Route {
            name: RouteName::new(name),
            primary: registry("fra", "fra"),
            repositories: Pattern::new(repositories).unwrap(),
            replicas,
            tag_proof: TagProof::Background,
            pin: Pin::TagAndDigest,
            rewrite: Rewrite::Apply,
        })
    };
    let mut settings = sample::settings(Duration::from_secs(1));
    let copies = || {
        vec![replica(registry("ams", "ams"), Serves::Copies), replica(registry("par", "par"), Serves::Copies)]
    };
    settings.routes = [
        route("production", "production/**", copies()),
        route("cache", "cache/**", vec![replica(registry("proxy", "ams"), Serves::ProxyCache)]),
    ]
    .into();
    settings
}

fn to(url: &str) -> Copies {
    Copies::To(Remote { name: "there".into(), url: url.into(), kind: "harbor".into() })
}

fn rule(trigger: Trigger) -> Rule {
    Rule {
        id: 1,
        name: "rule".into(),
        standing: Standing::Enabled,
        trigger,
        copies: to("https://harbor.ams.example.com"),
        filters: vec![name("production/**")],
        destination: ("production".into(), 1),
        overrides: true,
        created: Some(at("2026-01-01T00:00:00Z")),
        updated: Some(at("2026-01-01T00:00:00Z")),
    }
}

fn name(pattern: &str) -> Filter {
    Filter { on: On::Name(Pattern::new(pattern).unwrap()), selects: Selects::Matching }
}

fn tag(pattern: &str) -> Filter {
    Filter { on: On::Tag(Pattern::new(pattern).unwrap()), selects: Selects::Matching }
}

fn except(filter: Filter) -> Filter {
    Filter { selects: Selects::Others, ..filter }
}

fn hourly() -> Trigger {
    Trigger::Scheduled("0 0 * * * *".parse().unwrap())
}

fn run(id: i64, status: Status, started: &str) -> Execution {
    let ended = (status != Status::InProgress).then(|| at(started));
    Execution {
        id,
        status,
        reason: "".into(),
        started: Some(at(started)),
        ended,
        tasks: Tasks { total: 1, ..Tasks::default() },
    }
}

fn observed(rule: Rule, executions: Vec<Execution>) -> Observed {
    Observed { rule, executions: Some(executions), pushed: Vec::new() }
}

/// The risks of one rule, at this time.
fn risks_at(observed: Observed, now: &str) -> Vec<Risk> {
    gaps(&[observed], now).into_iter().map(|gap| gap.risk).collect()
}

fn gaps(rules: &[Observed], now: &str) -> Vec<RuleGap> {
    rule_gaps(&RegistryName::new("fra"), rules, at(now))
}

#[test]
fn a_rule_concerns_us_if_it_fills_a_place_at_our_site() {
    let settings = settings();
    let filled = |keeper: &str, rule: &Rule| -> Vec<String> {
        let keeper = RegistryName::new(keeper);
        fills(rule, &keeper, &settings).map(|route| route.name.to_string()).collect()
    };
    let pushing = |url: &str| Rule { copies: to(url), ..rule(hourly()) };
    for url in [
        "https://harbor.ams.example.com",
        "https://HARBOR.ams.example.com:443/",
        "http://harbor.ams.example.com",
        "harbor.ams.example.com",
        "harbor.ams.example.com/prefix",
        "https://old.ams.example.com:8443",
        "http://harbor-core.ams.svc:8080",
        "https://user:secret@harbor.ams.example.com",
    ] {
        assert_eq!(filled("fra", &pushing(url)), ["production"], "{url}");
    }
    for url in [
        "https://harbor.par.example.com",
        "https://harbor.ams.example.com.evil.io",
        "https://evil.io/harbor.ams.example.com",
        "https://harbor.ams.example.com@evil.io",
        "https://harbor.ams.example.com:8443",
        "http://harbor-core.ams.svc",
        "https://old.ams.example.com",
        "https://harbor.proxy.example.com",
        "https://",
        "",
        "\u{202e}",
    ] {
        assert!(filled("fra", &pushing(url)).is_empty(), "{url}");
    }
    let ours = pushing("https://harbor.ams.example.com");
    assert!(filled("ams", &ours).is_empty(), "a push rule is kept by the primary");
    assert!(filled("par", &ours).is_empty());
    for (filters, fills) in [
        (vec![], true),
        (vec![name("**")], true),
        (vec![name("production/shop/*")], true),
        (vec![name("{staging,production}/**")], true),
        (vec![name("staging/**")], false),
        (vec![except(name("production/**"))], true),
        (vec![tag("v*")], true),
    ] {
        let rule = Rule { filters, ..ours.clone() };
        assert_eq!(!filled("fra", &rule).is_empty(), fills, "{:?}", rule.filters);
    }
    let pulls = |url: &str| {
        let copies = Copies::From(Remote { name: "there".into(), url: url.into(), kind: "harbor".into() });
        Rule { copies, ..rule(hourly()) }
    };
    assert_eq!(filled("ams", &pulls("https://harbor.fra.example.com")), ["production"]);
    assert!(filled("par", &pulls("https://harbor.fra.example.com")).is_empty(), "another site's");
    assert!(filled("fra", &pulls("https://harbor.fra.example.com")).is_empty());
    assert!(filled("ams", &pulls("https://harbor.par.example.com")).is_empty());
    assert_eq!(keepers(&settings), [RegistryName::new("ams"), RegistryName::new("fra")]);
}

#[test]
fn a_disabled_rule_is_one_gap_and_nothing_else() {
    let disabled = |trigger| Rule { standing: Standing::Disabled, ..rule(trigger) };
    let failed = vec![run(1, Status::Failed, "2026-02-01T00:00:00Z")];
    assert_eq!(risks_at(observed(disabled(hourly()), failed), NOW), [Risk::RuleDisabled]);
    let unread = Observed { executions: None, ..observed(disabled(Trigger::Manual), vec![]) };
    assert_eq!(risks_at(unread, NOW), [Risk::RuleDisabled]);
    let (old, new) = (observed(disabled(hourly()), vec![]), Rule { id: 2, ..rule(Trigger::Manual) });
    assert!(gaps(&[old.clone(), observed(new.clone(), vec![])], NOW).is_empty(), "another rule took over");
    let elsewhere = Rule { destination: ("other".into(), 1), ..new };
    assert_eq!(gaps(&[old, observed(elsewhere, vec![])], NOW).len(), 1);
}

#[test]
fn the_newest_execution_that_ended_decides_whether_it_fails() {
    use Status::{Failed, InProgress, Stopped, Succeed};
    for (executions, failing) in [
        (vec![], false),
        (vec![Failed], true),
        (vec![Succeed], false),
        (vec![Failed, Succeed], false),
        (vec![Succeed, Failed], true),
        (vec![Failed, InProgress], true),
        (vec![Succeed, InProgress], false),
        (vec![Failed, Stopped], true),
        (vec![Succeed, Stopped], false),
        (vec![InProgress], false),
    ] {
        let shown = format!("{executions:?}");
        let numbered = (1..).zip(executions).map(|(id, status)| run(id, status, NOW));
        let mut executions: Vec<Execution> = numbered.collect();
        // In whatever order they come.
        executions.reverse();
        let risks = risks_at(observed(rule(Trigger::Manual), executions), NOW);
        assert_eq!(risks.contains(&Risk::RuleFailing), failing, "{shown}");
    }
}

#[test]
fn why_it_fails_is_said() {
    let detail = |reason: &str, tasks| {
        let last = Execution { reason: reason.into(), tasks, ..run(7, Status::Failed, NOW) };
        gaps(&[observed(rule(Trigger::OnPush), vec![last])], NOW).pop().map(|gap| gap.detail.to_string())
    };
    let none = Tasks::default();
    assert_eq!(
        detail("failed to create adapter: connection refused\n", none).unwrap(),
        "its last execution failed at 2026-07-15 10:00 UTC: failed to create adapter: connection refused "
    );
    assert_eq!(
        detail("", none).unwrap(),
        "its last execution failed at 2026-07-15 10:00 UTC, before it copied anything; Harbor gives no reason"
    );
    let some = Tasks { total: 3, failed: 1, succeeded: 2, ..none };
    assert_eq!(
        detail("", some).unwrap(),
        "its last execution failed at 2026-07-15 10:00 UTC: 1 of 3 tasks failed"
    );
    assert_eq!(detail("", Tasks { total: 3, succeeded: 3, ..none }), None, "the retry succeeded");
    let hostile = detail(&"\u{202e}\u{1b}[31m".repeat(60_000), none).unwrap();
    assert!(hostile.chars().count() <= 300 && !hostile.contains('\u{202e}'), "{hostile}");
}

#[test]
fn a_schedule_that_is_not_kept() {
    let daily_but_weekends = || Trigger::Scheduled("0 0 3 * * MON-FRI".parse().unwrap());
    let never = || Trigger::Scheduled("0 0 0 30 2 *".parse().unwrap());
    for (trigger, last, now, overdue) in [
        (hourly(), Some("2026-07-15T09:00:00Z"), NOW, false),
        (hourly(), Some("2026-07-15T07:00:00Z"), NOW, false),
        (hourly(), Some("2026-07-15T06:59:59Z"), NOW, true),
        (hourly(), None, NOW, true),
        (hourly(), None, "2026-01-01T03:00:00Z", false),
        (hourly(), None, "2026-01-01T03:00:01Z", true),
        (daily_but_weekends(), Some("2026-07-10T03:00:00Z"), "2026-07-13T02:00:00Z", false),
        (daily_but_weekends(), Some("2026-07-03T03:00:00Z"), "2026-07-13T02:00:00Z", true),
        (never(), None, NOW, false),
        (Trigger::Manual, None, NOW, false),
        (Trigger::OnPush, None, NOW, false),
        (Trigger::Unread("@daily".into()), None, NOW, false),
        // The clock is set back, by an hour and by a year.
        (hourly(), Some("2026-07-15T11:00:00Z"), NOW, false),
        (hourly(), Some("2027-07-15T11:00:00Z"), NOW, false),
    ] {
        let executions = last.map(|last| run(1, Status::Succeed, last)).into_iter().collect();
        let case = format!("{trigger:?} {last:?} {now}");
        let risks = risks_at(observed(rule(trigger), executions), now);
        assert_eq!(risks, if overdue { vec![Risk::RuleOverdue] } else { vec![] }, "{case}");
    }
    let enabled = Rule { updated: Some(at("2026-07-15T09:30:00Z")), ..rule(hourly()) };
    let before = run(1, Status::Succeed, "2026-02-01T00:00:00Z");
    assert!(risks_at(observed(enabled, vec![before]), NOW).is_empty(), "it was enabled a moment ago");
    let unread = Observed { executions: None, ..observed(rule(hourly()), vec![]) };
    assert!(risks_at(unread, NOW).is_empty(), "what may not be read is not called late");
    let unknown = Rule { created: None, updated: None, ..rule(hourly()) };
    assert!(risks_at(observed(unknown, vec![]), NOW).is_empty());
    let running = run(1, Status::InProgress, "2026-07-15T09:00:00Z");
    assert!(risks_at(observed(rule(hourly()), vec![running]), NOW).is_empty(), "it runs");
    let said = gaps(&[observed(rule(hourly()), vec![])], NOW).remove(0);
    assert_eq!(
        said.detail.as_ref(),
        "its schedule is `0 0 * * * *`, and it has never run since 2026-01-01 00:00 UTC"
    );
    assert_eq!(said.key.subject, GapSubject::Rule("rule".into()));
    assert_eq!(said.key.registry, RegistryName::new("fra"));
}

#[test]
fn a_push_that_was_not_followed() {
    for (trigger, last, pushed, idle) in [
        (Trigger::OnPush, Some("2026-07-15T09:00:00Z"), vec!["2026-07-15T09:30:00Z"], true),
        (
            Trigger::OnPush,
            Some("2026-07-15T09:00:00Z"),
            vec!["2026-07-15T09:59:00Z", "2026-07-15T09:30:00Z"],
            true,
        ),
        (
            Trigger::OnPush,
            Some("2026-07-15T09:40:00Z"),
            vec!["2026-07-15T09:59:00Z", "2026-07-15T09:30:00Z"],
            false,
        ),
        (Trigger::OnPush, Some("2026-07-15T09:00:00Z"), vec!["2026-07-15T09:45:00Z"], false),
        (Trigger::OnPush, Some("2026-07-15T09:00:00Z"), vec!["2026-07-15T09:44:59Z"], true),
        (Trigger::OnPush, Some("2026-07-15T09:30:01Z"), vec!["2026-07-15T09:30:00Z"], false),
        (Trigger::OnPush, None, vec!["2026-07-15T09:30:00Z"], true),
        (Trigger::OnPush, None, vec!["2025-12-31T23:00:00Z"], false),
        (Trigger::OnPush, Some("2026-07-15T09:00:00Z"), vec![], false),
        (Trigger::OnPush, Some("2026-07-15T09:00:00Z"), vec!["2026-07-15T11:00:00Z"], false),
        (Trigger::Manual, Some("2026-07-15T09:00:00Z"), vec!["2026-07-15T09:30:00Z"], false),
    ] {
        let executions = last.map(|last| run(1, Status::Succeed, last)).into_iter().collect();
        let case = format!("{trigger:?} {last:?} {pushed:?}");
        let observed = Observed {
            pushed: pushed.iter().copied().map(at).collect(),
            ..observed(rule(trigger), executions)
        };
        assert_eq!(risks_at(observed, NOW), if idle { vec![Risk::RuleIdle] } else { vec![] }, "{case}");
    }
}

#[test]
fn what_a_rule_covers() {
    let push = |repository: &str, tags: &[&str]| Push {
        repository: repository.into(),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        at: at(NOW),
    };
    let other = Filter { on: On::Other("label".into()), selects: Selects::Matching };
    for (filters, repository, tags, covered) in [
        (vec![], "a/b", vec!["v1"], Some(true)),
        (vec![name("a/**")], "a/b", vec![], Some(true)),
        (vec![name("a/**")], "b/b", vec!["v1"], Some(false)),
        (vec![name("a/**"), tag("v*")], "a/b", vec!["latest", "v1"], Some(true)),
        (vec![name("a/**"), tag("v*")], "a/b", vec!["latest"], Some(false)),
        (vec![tag("v*")], "a/b", vec![], Some(false)),
        (vec![except(tag("v*"))], "a/b", vec!["v1"], Some(false)),
        (vec![except(tag("v*"))], "a/b", vec!["v1", "latest"], Some(true)),
        (vec![except(tag("v*"))], "a/b", vec![], Some(false)),
        (vec![except(name("a/**"))], "a/b", vec!["v1"], Some(false)),
        (vec![name("a/**"), other], "a/b", vec!["v1"], None),
    ] {
        let rule = Rule { filters, ..rule(Trigger::OnPush) };
        assert_eq!(
            rule.covers(&push(repository, &tags)),
            covered,
            "{:?} {repository} {tags:?}",
            rule.filters
        );
    }
}
