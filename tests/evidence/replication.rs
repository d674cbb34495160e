//! Replication rules, over real HTTP: which concern us, what is wrong with them, and what we may not read.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::{
    Account, Embedded, Execution, Namespace, PathClass, Permission, ReplicationRule,
};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::replication::{Observed, rule_gaps};
use landfall::facade::domain::unknown::{Cause, Unknown};
use landfall::facade::evidence::{Replication, Right};
use tokio::time::Instant;

use super::site::{Given, Site, asked};
use super::support::wait::HELD;

async fn ask(site: &Site, registry: &str) -> Result<Replication, Unknown> {
    let registry = RegistryName::new(registry);
    site.observatory.replication(&registry, &site.settings, Instant::now() + HELD).await
}

async fn read(site: &Site, registry: &str) -> (Vec<Observed>, BTreeSet<Right>) {
    match ask(site, registry).await.unwrap() {
        Replication::Read { rules, lacking } => (rules, lacking),
        Replication::Plain => panic!("{registry} is no plain registry"),
    }
}

/// The names of the rules that concern us.
async fn names(site: &Site, registry: &str) -> Vec<String> {
    read(site, registry).await.0.into_iter().map(|observed| observed.rule.name.into()).collect()
}

/// `rule: Risk` of each.
async fn gaps(site: &Site, registry: &str) -> Vec<String> {
    let (rules, _) = read(site, registry).await;
    let gaps = rule_gaps(&RegistryName::new(registry), &rules, Timestamp::now());
    gaps.into_iter().map(|gap| format!("{}: {}", gap.key.subject, gap.risk)).collect()
}

fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

/// A rule that fills Amsterdam's `production/**`.
fn ours(name: &str, ams: &Embedded) -> ReplicationRule {
    ReplicationRule::to(name, &ams.url()).filter("name", "production/**").created(ago(60 * 24 * 30))
}

#[tokio::test]
async fn only_rules_that_fill_a_place_at_our_site_concern_us() {
    let site = Site::new(Given::default()).await;
    let (fra, ams) = (&site.demo.fra, &site.demo.ams);
    fra.store().add_rule(ours("ours", ams));
    fra.store().add_rule(ReplicationRule::to("by name", "https://HARBOR.ams.example.com:443"));
    fra.store().add_rule(ReplicationRule::to("of Paris", "https://harbor.par.example.com"));
    fra.store().add_rule(ReplicationRule::to("staging", &ams.url()).filter("name", "staging/**"));
    fra.store().add_rule(ReplicationRule::from("into Frankfurt", &ams.url()));
    ams.store().add_rule(ReplicationRule::from("pulls", &fra.url()).filter("name", "production/**"));
    ams.store().add_rule(ReplicationRule::to("onwards", "https://harbor.rio.example.com"));
    assert_eq!(names(&site, "fra").await, ["ours", "by name"]);
    assert_eq!(names(&site, "ams").await, ["pulls"]);
    let edge = ask(&site, "edge").await;
    assert_eq!(edge, Ok(Replication::Plain));
    let nobody = ask(&site, "nobody").await.unwrap_err();
    assert_eq!(nobody.cause, Cause::Drained);
}

#[tokio::test]
async fn every_kind_of_trouble_is_seen_and_ends() {
    let site = Site::new(Given::default()).await;
    let (fra, ams) = (&site.demo.fra, &site.demo.ams);
    let hourly = |name: &str| ours(name, ams).scheduled("0 0 * * * *");
    fra.store().add_rule(ours("disabled", ams).filter("tag", "v*").disabled());
    let failing = fra.store().add_rule(hourly("failing"));
    let early = fra.store().add_rule(hourly("failing early"));
    let overdue = fra.store().add_rule(hourly("overdue"));
    fra.store().add_rule(hourly("never ran"));
    let idle = fra.store().add_rule(ours("idle", ams));
    let healthy = fra.store().add_rule(hourly("healthy"));
    let run = |rule, execution| fra.store().execute(rule, execution);
    run(failing, Execution::succeeded(ago(70)));
    run(
        failing,
        Execution::new("Failed", "", ago(10), &[("Failed", "production/shop/web"), ("Succeed", "b")]),
    );
    run(early, Execution::failed(ago(10), "dial tcp: connection refused"));
    run(overdue, Execution::succeeded(ago(60 * 5)));
    run(idle, Execution::succeeded(ago(60 * 3)));
    run(healthy, Execution::failed(ago(70), "a moment of trouble"));
    run(healthy, Execution::succeeded(ago(10)));
    // The seed was pushed a moment ago, which is no failure yet.
    assert_eq!(
        gaps(&site, "fra").await,
        [
            "rule disabled: RuleDisabled",
            "rule failing: RuleFailing",
            "rule failing early: RuleFailing",
            "rule overdue: RuleOverdue",
            "rule never ran: RuleOverdue",
        ]
    );
    let (rules, lacking) = read(&site, "fra").await;
    assert!(lacking.is_empty());
    let details: Vec<String> = rule_gaps(&RegistryName::new("fra"), &rules, Timestamp::now())
        .into_iter()
        .map(|gap| gap.detail.into())
        .collect();
    assert!(
        details[1]
            .ends_with("1 of 2 tasks failed, the first of them for production/shop/web [1 item(s) in total]"),
        "{details:?}"
    );
    assert!(details[2].ends_with("dial tcp: connection refused"), "{details:?}");
    run(failing, Execution::succeeded(ago(1)));
    run(early, Execution::succeeded(ago(1)));
    run(overdue, Execution::succeeded(ago(1)));
    assert_eq!(gaps(&site, "fra").await, ["rule disabled: RuleDisabled", "rule never ran: RuleOverdue"]);
}

#[tokio::test]
async fn a_push_that_no_execution_followed() {
    let site = Site::new(Given::default()).await;
    let (fra, ams) = (&site.demo.fra, &site.demo.ams);
    // Of the projects of our routes, everything else was pushed long before.
    let idle = {
        let mut store = fra.store();
        for repository in ["production/shop/web", "production/old"] {
            store.push(repository, "x", &Content::image("x"));
        }
        store.remove_project("production");
        let rule = store.add_rule(ours("idle", ams).filter("tag", "v*"));
        store.execute(rule, Execution::succeeded(ago(60)));
        rule
    };
    let push = |tag: &str, minutes| {
        let digest = fra.store().push("production/shop/web", tag, &Content::image(tag));
        fra.store().set_pushed("production/shop/web", &digest, ago(minutes));
    };
    assert!(gaps(&site, "fra").await.is_empty(), "nothing was pushed");
    push("v0", 90);
    push("latest", 40);
    push("v1", 5);
    assert!(gaps(&site, "fra").await.is_empty(), "before, not covered, or a moment ago");
    push("v2", 40);
    assert_eq!(gaps(&site, "fra").await, ["rule idle: RuleIdle"]);
    fra.store().execute(idle, Execution::succeeded(ago(39)));
    push("v1", 10);
    assert!(gaps(&site, "fra").await.is_empty(), "it ran");
}

#[tokio::test]
async fn a_missing_right_is_named_and_never_a_gap() {
    let site = Site::new(Given::default()).await;
    let (fra, ams) = (&site.demo.fra, &site.demo.ams);
    fra.store().add_rule(ours("overdue", ams).scheduled("0 0 * * * *"));
    fra.store().add_rule(ours("on push", ams));
    fra.store().add_rule(ours("disabled", ams).filter("tag", "v*").disabled());
    let without = async |missing: &[Permission]| {
        let may: Vec<_> = Permission::ALL.into_iter().filter(|one| !missing.contains(one)).collect();
        fra.store().add_account(Account::robot("landfall", Namespace::All, &may));
        let (rules, lacking) = read(&site, "fra").await;
        let lacking: Vec<String> = lacking.into_iter().map(|right| right.to_string()).collect();
        (rules.len(), lacking, gaps(&site, "fra").await)
    };
    let (rules, lacking, found) = without(&[Permission::ReplicationPolicyList]).await;
    assert_eq!((rules, found.len()), (0, 0));
    assert_eq!(lacking, ["replication-policy:list"]);
    let (rules, lacking, found) = without(&[Permission::ReplicationList]).await;
    assert_eq!((rules, found), (3, vec!["rule disabled: RuleDisabled".to_owned()]));
    assert_eq!(lacking, ["replication:list"]);
    let (rules, lacking, _) = without(&[Permission::ArtifactList]).await;
    assert_eq!((rules, lacking), (3, vec!["artifact:list".to_owned()]));
    assert_eq!(without(&[]).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn more_than_a_page_of_rules_and_more_than_we_look_at() {
    let site = Site::new(Given::default()).await;
    let (fra, ams) = (&site.demo.fra, &site.demo.ams);
    fra.store().add_rule(ours("the first", ams).scheduled("0 0 * * * *"));
    for number in 0..250 {
        fra.store()
            .add_rule(ReplicationRule::to(&format!("other {number}"), "https://harbor.par.example.com"));
    }
    // Harbor lists the newest first, so it stands on the third page.
    assert_eq!(names(&site, "fra").await, ["the first"]);
    let requests = asked(fra, PathClass::Api);
    assert!(requests.values().sum::<usize>() <= 4, "three pages, one rule's executions: {requests:?}");
    for number in 0..100 {
        fra.store().add_rule(ours(&format!("more {number}"), ams));
    }
    assert_eq!(names(&site, "fra").await.len(), 64);
}

#[tokio::test]
async fn names_from_outside_are_one_short_line() {
    let site = Site::new(Given::default()).await;
    let (fra, ams) = (&site.demo.fra, &site.demo.ams);
    let hostile = format!("\u{202e}evil\n\"}} {}", "x".repeat(5_000));
    let rule = fra.store().add_rule(ours(&hostile, ams).scheduled("0 0 * * * *"));
    fra.store().execute(rule, Execution::failed(ago(5), &hostile));
    let (rules, _) = read(&site, "fra").await;
    let gaps = rule_gaps(&RegistryName::new("fra"), &rules, Timestamp::now());
    for text in [gaps[0].key.subject.to_string(), gaps[0].detail.to_string(), rules[0].rule.name.to_string()]
    {
        assert!(text.chars().count() <= 306 && !text.contains(['\u{202e}', '\n']), "{text}");
    }
}

#[tokio::test]
async fn a_harbor_that_is_down_is_unknown() {
    let site = Site::new(Given::default()).await;
    site.demo.fra.down().await;
    assert_eq!(ask(&site, "fra").await.unwrap_err().cause, Cause::Connect);
    site.demo.fra.up().await;
}
