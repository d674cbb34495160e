//! The rules of the demo's Harbors, read over real HTTP by a leader that reads them again after some milliseconds.

use jiff::SignedDuration;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry as Page;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{self, Files};
use crate::demo::world::seed::{self, Demo};
use crate::demo::world::{Account, Execution, Namespace, Permission, ReplicationRule, entry};

/// The world of the demo, and a leader that reads its rules again after some milliseconds.
struct Site {
    demo: Demo,
    page: Page,
    leads: watch::Sender<bool>,
    report: watch::Receiver<Arc<RuleReport>>,
    settings: Arc<ArcSwap<Settings>>,
    task: JoinHandle<()>,
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

fn settings(demo: &Demo, replica: &str) -> Settings {
    let text = format!(
        r#"
site: ams
registries:
  fra: {}
  ams: {}
  edge: {}
routes:
  - name: production
    primary: {{registry: fra, repositories: "production/**"}}
    replicas: [{replica}]
"#,
        entry(&demo.fra.registry("fra", "harbor.fra.example.com"), ""),
        entry(&demo.ams.registry("ams", "harbor.ams.example.com"), ""),
        entry(&demo.edge.registry("ams", "registry.edge:5000"), ""),
    );
    config::parse(&text, "test.yaml", Files::Check, now())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .settings
}

impl Site {
    async fn new(leads: bool) -> Self {
        let demo = seed::demo().await.unwrap();
        let both = "{registry: ams, namespace: production, flatten: 1}, {registry: edge, namespace: \"\"}";
        let settings = Arc::new(ArcSwap::from_pointee(settings(&demo, both)));
        let mut page = Page::default();
        let observatory = Arc::new(Observatory::new(&settings.load(), &mut page));
        let leads = watch::Sender::new(leads);
        let leading = Leading::told_by(leads.subscribe());
        let metrics = ReplicationMetrics::register(&mut page);
        let mut watch = RuleWatch::new(observatory, settings.clone(), leading, now, metrics);
        watch.every = Duration::from_millis(20);
        let report = watch.report();
        let task = tokio::spawn(watch.run());
        Self { demo, page, leads, report, settings, task }
    }

    /// The next report that fits.
    async fn told(&mut self, what: &str, fits: impl Fn(&RuleReport) -> bool) -> Arc<RuleReport> {
        let wait = self.report.wait_for(|report| fits(report));
        let report = tokio::time::timeout(Duration::from_secs(30), wait).await;
        report.unwrap_or_else(|_| panic!("never: {what}")).unwrap().clone()
    }

    fn page(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.page).unwrap();
        text
    }

    fn allow(&self, permissions: &[Permission]) {
        self.demo.fra.store().add_account(Account::robot("landfall", Namespace::All, permissions));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn fra() -> RegistryName {
    RegistryName::new("fra")
}

fn shown(report: &RuleReport) -> Vec<String> {
    report.gaps.iter().map(|gap| format!("{}/{}: {}", gap.key.registry, gap.key.subject, gap.risk)).collect()
}

fn is_read(report: &RuleReport) -> bool {
    matches!(report.read.get(&fra()), Some(Reading::Read { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_told_and_its_end_too() {
    let mut site = Site::new(true).await;
    let report = site.told("rules are read", is_read).await;
    assert!(report.gaps.is_empty());
    assert_eq!(report.read.get(&RegistryName::new("edge")), Some(&Reading::Plain));
    let rule =
        ReplicationRule::to("to ams", &site.demo.ams.url()).scheduled("0 0 * * * *").created(ago(9999));
    let rule = site.demo.fra.store().add_rule(rule);
    site.demo.fra.store().execute(rule, Execution::failed(ago(5), "connection refused"));
    let report = site.told("a failure", |report| !report.gaps.is_empty()).await;
    assert_eq!(shown(&report), ["fra/rule to ams: RuleFailing"]);
    assert!(report.gaps[0].detail.ends_with(": connection refused"), "{report:?}");
    let page = site.page();
    let labels = r#"{registry="fra",rule="to ams",status="Failed"}"#;
    assert!(page.contains(&format!("landfall_replication_executions{labels} 1")), "{page}");
    assert!(page.contains(&format!("landfall_replication_tasks{labels} 0")), "{page}");
    assert!(page.contains("landfall_replication_rule_last_run_timestamp_seconds{registry=\"fra\""), "{page}");
    site.demo.fra.store().execute(rule, Execution::succeeded(ago(1)));
    site.told("its end", |report| report.gaps.is_empty() && is_read(report)).await;
    site.demo.fra.store().remove_rules();
    let other = ReplicationRule::to("another", &site.demo.ams.url()).disabled();
    site.demo.fra.store().add_rule(other);
    site.told("another rule", |report| !report.gaps.is_empty()).await;
    let page = site.page();
    assert!(!page.contains("rule=\"to ams\""), "a rule that is gone has no metric: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_reads_and_shows() {
    let mut site = Site::new(false).await;
    let url = site.demo.ams.url();
    let rule = site.demo.fra.store().add_rule(ReplicationRule::to("to ams", &url).disabled());
    site.demo.fra.store().execute(rule, Execution::succeeded(ago(1)));
    tokio::task::yield_now().await;
    assert!(site.demo.fra.log().is_empty(), "who does not lead asks nobody");
    assert!(!site.report.borrow().judges(&fra(), Risk::RuleDisabled));
    site.leads.send_replace(true);
    let report = site.told("it leads", |report| !report.gaps.is_empty()).await;
    assert_eq!(shown(&report), ["fra/rule to ams: RuleDisabled"]);
    assert!(report.judges(&fra(), Risk::RuleDisabled));
    assert!(site.page().contains("rule=\"to ams\""));
    site.leads.send_replace(false);
    let report = site.told("it does not", |report| report.read.is_empty()).await;
    assert!(report.gaps.is_empty() && !report.judges(&fra(), Risk::RuleDisabled));
    assert!(!site.page().contains("rule=\"to ams\""), "{}", site.page());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_told_and_judges_nothing() {
    let mut site = Site::new(true).await;
    let rule =
        ReplicationRule::to("to ams", &site.demo.ams.url()).scheduled("0 0 * * * *").created(ago(9999));
    site.demo.fra.store().add_rule(rule);
    site.told("overdue", |report| !report.gaps.is_empty()).await;
    let without = |missing: Permission| -> Vec<Permission> {
        Permission::ALL.into_iter().filter(|one| *one != missing).collect()
    };
    site.allow(&without(Permission::ReplicationList));
    let lacks = |right: Right| move |report: &RuleReport| matches!(report.read.get(&fra()), Some(Reading::Read { lacking }) if lacking.contains(&right));
    let report = site.told("no executions", lacks(Right::Executions)).await;
    assert!(report.gaps.is_empty());
    let judged = |risk| report.judges(&fra(), risk);
    assert!(judged(Risk::RuleDisabled) && !judged(Risk::RuleOverdue) && !judged(Risk::RuleIdle));
    site.allow(&without(Permission::ReplicationPolicyList));
    let report = site.told("no rules", lacks(Right::Rules)).await;
    assert!(!report.judges(&fra(), Risk::RuleDisabled) && !report.judges(&fra(), Risk::RuleFailing));
    site.allow(&Permission::ALL);
    let report = site.told("all again", |report| !report.gaps.is_empty()).await;
    assert_eq!(shown(&report), ["fra/rule to ams: RuleOverdue"]);
    assert!(report.judges(&fra(), Risk::RuleIdle) && !report.judges(&fra(), Risk::Untagged));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_unknown_and_a_registry_that_left_is_forgotten() {
    let mut site = Site::new(true).await;
    let url = site.demo.fra.url();
    site.demo.ams.store().add_rule(ReplicationRule::from("pulls", &url).disabled());
    let ams = RegistryName::new("ams");
    site.told("the pull rule", |report| shown(report) == ["ams/rule pulls: RuleDisabled"]).await;
    site.demo.ams.down().await;
    let unknown = |report: &RuleReport| matches!(report.read.get(&ams), Some(Reading::Unknown(_)));
    let report = site.told("an outage", unknown).await;
    assert!(report.gaps.is_empty() && !report.judges(&ams, Risk::RuleDisabled));
    assert!(is_read(&report), "Frankfurt's are read all the same");
    assert!(site.page().contains("rule=\"pulls\""), "what was known of it stays");
    let other = settings(&site.demo, "{registry: edge, namespace: \"\"}");
    site.settings.store(Arc::new(other));
    site.told("it left the route", |report| !report.read.contains_key(&ams)).await;
    assert!(!site.page().contains("rule=\"pulls\""));
}
