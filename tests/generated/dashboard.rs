//! `helm/landfall/dashboards/landfall.json`: a dashboard for Grafana 10 to 12, its rows in the order of need.

use serde_json::{Value, json};

use super::promql::{Samples, check, check_text};

/// How a panel draws.
#[derive(Clone, Copy)]
enum Draws {
    /// One number, red from this value on where there is one.
    Number(Option<f64>),
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other.
    Stacked,
    /// The newest values as rows.
    Table,
}

use Draws::{Lines, Number, Stacked, Table};

struct Panel {
    title: &'static str,
    says: &'static str,
    draws: Draws,
    unit: &'static str,
    width: u32,
    /// Expressions, each with its legend. `%` stands for the chosen installations.
    asks: Vec<(&'static str, &'static str)>,
}

const fn panel(
    title: &'static str,
    says: &'static str,
    draws: Draws,
    unit: &'static str,
    width: u32,
) -> Panel {
    Panel { title, says, draws, unit, width, asks: Vec::new() }
}

impl Panel {
    fn ask(mut self, expr: &'static str, legend: &'static str) -> Self {
        self.asks.push((expr, legend));
        self
    }
}

/// The labels by which a reader chooses installations.
const CHOSEN: &str = r#"namespace=~"$namespace",job=~"$job""#;

/// What only the leader shows stays on the page of a replica that led before: this leaves it out.
const LEADS: &str = r#"and on (namespace, job, instance) landfall_leader{%} == 1"#;

fn rows() -> Vec<(&'static str, Vec<Panel>)> {
    vec![
        ("What needs attention", attention()),
        ("Images and decisions", decisions()),
        ("The doors", doors()),
        ("Registries", registries()),
        ("Replication", replication()),
        ("Cache and sweep", cache()),
        ("Certificates, configuration, replicas", operation()),
    ]
}

fn attention() -> Vec<Panel> {
    vec![
        panel("Open gaps", "Images, scans and replication rules that are not as they should be.", Number(Some(1.0)), "short", 4)
            .ask("sum(landfall_gaps{%}) or vector(0)", ""),
        panel("Oldest missing copy", "The alert LandfallGapOpen fires after 15 minutes.", Number(Some(900.0)), "s", 4)
            .ask(r#"max(landfall_gap_oldest_age_seconds{%,axis="Presence"}) or vector(0)"#, ""),
        panel("Registries that cannot be used", "By the last probe of any replica.", Number(Some(1.0)), "short", 4).ask(
            r#"count(max by (namespace, job, registry) (landfall_registry_health{%,state=~"Down|Unresponsive|DatabaseDown|NotARegistry|Unusable|BadCredentials"}) == 1) or vector(0)"#,
            "",
        ),
        panel("Pods denied, last hour", "Each attempt of a controller counts. Dry runs are left out.", Number(None), "short", 4)
            .ask(r#"sum(increase(landfall_admissions_total{%,verdict="Denied",dry_run="false"}[1h])) or vector(0)"#, ""),
        panel("Gaps given up by healing", "Five attempts have failed: a person has to act.", Number(Some(1.0)), "short", 4)
            .ask("sum(landfall_healing_gaps_given_up{%}) or vector(0)", ""),
        panel("Replicas", "Those that Prometheus reads.", Number(None), "short", 4).ask("count(landfall_build_info{%}) or vector(0)", ""),
        panel("Open gaps by finding", "What is lacking, and where. The findings are explained in REASONS.md.", Table, "short", 10)
            .ask("sum by (registry, finding) (landfall_gaps{%}) > 0", ""),
        panel("Open gaps over time", "A gap that stays open for long is not healed by replication.", Stacked, "short", 14)
            .ask("sum by (finding) (landfall_gaps{%})", "{{finding}}"),
    ]
}

fn decisions() -> Vec<Panel> {
    vec![
        panel("Share served locally", "Of the images with a route, those that Pods get from this site.", Number(None), "percentunit", 4).ask(
            r#"sum(increase(landfall_images_total{%,reason=~"Local|AlreadyLocal|Accepted|Presumed"}[$__range])) / sum(increase(landfall_images_total{%,route!=""}[$__range]))"#,
            "",
        ),
        panel("Share served locally, by route", "A fall is a registry that is away, or copies that do not come.", Lines, "percentunit", 10).ask(
            r#"sum by (route) (rate(landfall_images_total{%,reason=~"Local|AlreadyLocal|Accepted|Presumed"}[$__rate_interval])) / sum by (route) (rate(landfall_images_total{%,route!=""}[$__rate_interval]))"#,
            "{{route}}",
        ),
        panel("Images by reason", "What became of the images of new Pods.", Stacked, "short", 10)
            .ask("sum by (reason) (increase(landfall_images_total{%}[$__rate_interval]))", "{{reason}}"),
        panel("Findings", "Why a local copy was not simply used.", Stacked, "short", 8)
            .ask("sum by (finding) (increase(landfall_findings_total{%}[$__rate_interval]))", "{{finding}}"),
        panel("Denied Pods, by reason", "The reason of the most important image of each Pod.", Stacked, "short", 8).ask(
            r#"sum by (reason) (increase(landfall_admissions_total{%,verdict="Denied",dry_run="false"}[$__rate_interval]))"#,
            "{{reason}}",
        ),
        panel("Observing policies: what they would deny", "Look here before a policy enforces.", Stacked, "short", 8).ask(
            r#"sum by (policy) (increase(landfall_observed_policy_verdicts_total{%,verdict="Denied"}[$__rate_interval]))"#,
            "{{policy}}",
        ),
    ]
}

fn doors() -> Vec<Panel> {
    vec![
        panel("Latency of the doors", "From the last byte of a review to its answer.", Lines, "s", 12)
            .ask(
                "histogram_quantile(0.50, sum by (door, le) (rate(landfall_admission_duration_seconds_bucket{%}[$__rate_interval])))",
                "p50 {{door}}",
            )
            .ask(
                "histogram_quantile(0.99, sum by (door, le) (rate(landfall_admission_duration_seconds_bucket{%}[$__rate_interval])))",
                "p99 {{door}}",
            ),
        panel("Reviews a second", "Dry runs included.", Stacked, "reqps", 6)
            .ask("sum by (door, verdict) (rate(landfall_admissions_total{%}[$__rate_interval]))", "{{door}} {{verdict}}"),
        panel("Let through or refused by the API server", "Metrics of the API server: nobody of Landfall answered in time.", Lines, "short", 6)
            .ask(
                r#"sum by (name) (increase(apiserver_admission_webhook_fail_open_count{name="mutate.landfall.dev"}[$__rate_interval]))"#,
                "let through {{name}}",
            )
            .ask(
                r#"sum by (name) (increase(apiserver_admission_webhook_rejection_count{name=~"validate-.+[.]landfall[.]dev",error_type="calling_webhook_error"}[$__rate_interval]))"#,
                "refused {{name}}",
            ),
    ]
}

fn registries() -> Vec<Panel> {
    vec![
        panel("Health", "The state that the last probe found.", Table, "short", 8)
            .ask("max by (registry, state) (landfall_registry_health{%}) == 1", ""),
        panel("Breaker", "0 closed, 1 half-open, 2 open: nothing is asked.", Lines, "short", 8)
            .ask("max by (registry) (landfall_registry_breaker{%})", "{{registry}}"),
        panel("Probe", "How long the last probe took.", Lines, "s", 8)
            .ask("max by (registry) (landfall_registry_probe_duration_seconds{%})", "{{registry}}"),
        panel("Latency of requests, p99", "Authentication and redirects included.", Lines, "s", 8).ask(
            "histogram_quantile(0.99, sum by (registry, le) (rate(landfall_registry_request_duration_seconds_bucket{%}[$__rate_interval])))",
            "{{registry}}",
        ),
        panel("Requests by outcome", "Who is asked how often, and what comes back.", Stacked, "reqps", 8).ask(
            "sum by (registry, outcome) (rate(landfall_registry_requests_total{%}[$__rate_interval]))",
            "{{registry}} {{outcome}}",
        ),
        panel("Wait in the queue, p99", "Long waits: raise budget.inFlight, or the registry is too slow.", Lines, "s", 8).ask(
            "histogram_quantile(0.99, sum by (registry, le) (rate(landfall_lookup_queue_wait_seconds_bucket{%}[$__rate_interval])))",
            "{{registry}}",
        ),
    ]
}

fn replication() -> Vec<Panel> {
    vec![
        panel("Lag, p95", "The target is 5 minutes: the alert LandfallReplicationSlow.", Lines, "s", 8)
            .ask(
                "histogram_quantile(0.95, sum by (route, le) (rate(landfall_replication_lag_seconds_bucket{%}[1h])))",
                "{{route}}",
            )
            .ask("vector(300)", "target"),
        panel("Copies within 5 minutes", "Share of the copies that came in time, over 6 hours.", Lines, "percentunit", 8).ask(
            r#"sum by (route) (increase(landfall_replication_lag_seconds_bucket{%,le="300.0"}[6h])) / sum by (route) (increase(landfall_replication_lag_seconds_count{%}[6h]))"#,
            "{{route}}",
        ),
        panel("Tasks that succeeded", "Of the newest ten executions of each rule.", Lines, "percentunit", 8).ask(
            r#"sum by (registry, rule) (landfall_replication_tasks{%,status="Succeed"} LEADS) / sum by (registry, rule) (landfall_replication_tasks{%,status=~"Succeed|Failed|Stopped"} LEADS)"#,
            "{{registry}} {{rule}}",
        ),
        panel("Since the last run", "Of each replication rule.", Table, "s", 12)
            .ask("time() - max by (registry, rule) (landfall_replication_rule_last_run_timestamp_seconds{%} LEADS)", ""),
        panel("Attempts to heal", "Scans that were started, rules that were executed, and what came of it.", Stacked, "short", 12).ask(
            "sum by (what, outcome) (increase(landfall_healing_attempts_total{%}[$__rate_interval]))",
            "{{what}} {{outcome}}",
        ),
    ]
}

fn cache() -> Vec<Panel> {
    vec![
        panel("Questions answered from memory", "Fresh answers, of all questions.", Lines, "percentunit", 6).ask(
            r#"sum by (aspect) (rate(landfall_cache_requests_total{%,result="Fresh"}[$__rate_interval])) / sum by (aspect) (rate(landfall_cache_requests_total{%}[$__rate_interval]))"#,
            "{{aspect}}",
        ),
        panel("Cached answers", "In the fullest replica.", Lines, "short", 6).ask("max by (namespace, job) (landfall_cache_entries{%})", "{{job}}"),
        panel("Memory of the cache", "In the fullest replica.", Lines, "bytes", 6).ask("max by (namespace, job) (landfall_cache_bytes{%})", "{{job}}"),
        panel("Since the last sweep", "The alert LandfallSweepOverdue fires when three were missed.", Number(Some(3600.0)), "s", 6)
            .ask("time() - max(landfall_sweep_ended_timestamp_seconds{%})", ""),
    ]
}

fn operation() -> Vec<Panel> {
    vec![
        panel(
            "The certificate ends in",
            "Landfall's own lasts for a day and is renewed after two thirds of it.",
            Number(None),
            "s",
            6,
        )
        .ask("min(landfall_certificate_expiry_timestamp_seconds{%} > 0) - time()", ""),
        panel(
            "Errors in the configuration",
            "While there are some, the configuration before it stays in force.",
            Number(Some(1.0)),
            "short",
            6,
        )
        .ask("max(landfall_config_errors{%})", ""),
        panel("Leaders", "One.", Number(Some(2.0)), "short", 6).ask("sum(landfall_leader{%})", ""),
        panel(
            "Policies open by break-glass",
            "They deny nothing while they are open.",
            Number(Some(1.0)),
            "short",
            6,
        )
        .ask("max(landfall_policies_opened{%})", ""),
        panel(
            "What is not well",
            "Conditions that are degraded or keep a replica out of service.",
            Table,
            "short",
            12,
        )
        .ask(r#"max by (pod, condition, state) (landfall_condition{%,state=~"Degraded|Unready"}) == 1"#, ""),
        panel("Versions", "More than one only while an upgrade is under way.", Table, "short", 12)
            .ask("count by (version) (landfall_build_info{%})", ""),
    ]
}

/// The dashboard, with each name in it held against what pages show.
///
/// # Panics
/// Where a panel names what is on no page.
pub fn file(samples: &Samples) -> String {
    let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
    for (title, row) in rows() {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in row {
            if x + panel.width > 24 {
                (x, y, height) = (0, y + height, 0);
            }
            id += 1;
            let own = panel.height();
            panels.push(panel.json(id, (x, y, own), samples));
            (x, height) = (x + panel.width, height.max(own));
        }
        y += height;
    }
    let variable = |name: &str, query: &str| {
        json!({
            "name": name, "label": name, "type": "query", "datasource": datasource(), "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "multi": true, "includeAll": true, "allValue": ".*", "sort": 1,
            "current": {"text": ["All"], "value": ["$__all"]},
        })
    };
    let dashboard = json!({
        "title": "Landfall",
        "description": "Made from the code by LANDFALL_GENERATE=1 cargo test --test generated.",
        "tags": ["landfall"],
        "schemaVersion": 39,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "datasource", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0},
            variable("namespace", "label_values(landfall_build_info, namespace)"),
            variable("job", r#"label_values(landfall_build_info{namespace=~"$namespace"}, job)"#),
        ]},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    });
    serde_json::to_string_pretty(&dashboard).unwrap() + "\n"
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Panel {
    fn height(&self) -> u32 {
        if matches!(self.draws, Number(_)) { 4 } else { 8 }
    }

    fn json(&self, id: u32, (x, y, height): (u32, u32, u32), samples: &Samples) -> Value {
        let title = self.title;
        let targets: Vec<Value> = (b'A'..)
            .zip(&self.asks)
            .map(|(letter, (expr, legend))| {
                let expr = expr.replace("LEADS", LEADS).replace('%', CHOSEN);
                let grouped = check(&expr, samples).unwrap_or_else(|why| panic!("{title}: {why}"));
                check_text(legend, &grouped).unwrap_or_else(|why| panic!("{title}: {why}"));
                let now = matches!(self.draws, Table | Number(_));
                json!({
                    "refId": char::from(letter).to_string(), "datasource": datasource(), "expr": expr, "legendFormat": legend,
                    "instant": now, "range": !now, "format": if matches!(self.draws, Table) { "table" } else { "time_series" },
                })
            })
            .collect();
        assert!(!targets.is_empty() && self.width <= 24, "{title}");
        let (kind, custom, options) = match self.draws {
            Number(_) => {
                let reduce = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
                (
                    "stat",
                    json!({}),
                    json!({"reduceOptions": reduce, "colorMode": "value", "graphMode": "none", "textMode": "auto"}),
                )
            }
            Lines | Stacked => {
                let fill = if matches!(self.draws, Stacked) { 30 } else { 5 };
                let mode = if matches!(self.draws, Stacked) { "normal" } else { "none" };
                let legend =
                    json!({"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []});
                (
                    "timeseries",
                    json!({"drawStyle": "line", "fillOpacity": fill, "showPoints": "auto", "stacking": {"mode": mode, "group": "A"}}),
                    json!({"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}),
                )
            }
            Table => ("table", json!({}), json!({"showHeader": true, "cellHeight": "sm"})),
        };
        let mut steps = vec![json!({"color": "green", "value": null})];
        if let Number(Some(red)) = self.draws {
            steps.push(json!({"color": "red", "value": red}));
        }
        let mut panel = json!({
            "id": id, "type": kind, "title": title, "description": self.says, "datasource": datasource(), "targets": targets,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
            "fieldConfig": {
                "defaults": {"unit": self.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": [],
            },
            "options": options,
        });
        if matches!(self.draws, Table) {
            let sorted = json!({"sort": [{"field": "Value", "desc": true}]});
            panel["transformations"] = json!([
                {"id": "organize", "options": {"excludeByName": {"Time": true}}},
                {"id": "sortBy", "options": sorted},
            ]);
        }
        panel
    }
}
