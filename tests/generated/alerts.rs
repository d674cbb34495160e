//! The alerts of the chart, each with a case in which it fires and one in which it does not.
//!
//! `tests/generated.rs` writes the rules and holds every name in them against the metrics that pages show;
//! `tests/observability.rs` has promtool run the cases.

/// How urgent an alert is, as its label `severity` says.
#[derive(Debug, Clone, Copy, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// Somebody has to look now: Pods are denied, or will be soon.
    Critical,
    /// Somebody has to look today.
    Warning,
    /// Worth knowing.
    Info,
}

use Severity::{Critical, Info, Warning};

/// One alert.
pub struct Alert {
    /// Its name, and the heading of its section in RUNBOOKS.md.
    pub name: &'static str,
    pub severity: Severity,
    /// How long the expression must hold.
    pub pending: &'static str,
    /// The expression. `@` stands for the labels that tell one installation from another.
    pub expr: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it means, in plain words.
    pub description: &'static str,
    /// When it fires.
    pub fires: Fires,
    /// A case in which it does not fire, though it looks similar.
    pub quiet: Case,
}

/// What Prometheus has read: series as promtool writes them, one value a minute. `@0` and `@1` stand for the labels of two replicas.
pub struct Case {
    pub series: &'static [(&'static str, &'static str)],
    /// When it is looked at.
    pub at: &'static str,
}

/// A case in which the alert fires.
pub struct Fires {
    pub case: Case,
    /// Its labels beside `namespace` and `job`, which are told by `ours`, and its severity.
    pub labels: &'static [(&'static str, &'static str)],
    /// Whether it is about one installation.
    pub ours: bool,
    /// The summary as a person reads it.
    pub says: &'static str,
}

/// The labels that tell one installation from another. An installation without one of them is grouped as well.
pub const INSTALLATION: &str = "cluster, namespace, job";

/// The labels of two replicas.
pub const REPLICAS: [(&str, &str); 2] = [
    ("@0", r#"namespace="landfall",job="landfall",pod="landfall-0""#),
    ("@1", r#"namespace="landfall",job="landfall",pod="landfall-1""#),
];

const fn fires(
    series: &'static [(&'static str, &'static str)],
    at: &'static str,
    labels: &'static [(&'static str, &'static str)],
    says: &'static str,
) -> Fires {
    Fires { case: Case { series, at }, labels, ours: true, says }
}

const fn quiet(series: &'static [(&'static str, &'static str)], at: &'static str) -> Case {
    Case { series, at }
}

const AMS: (&str, &str) = ("registry", "ams");

impl Alert {
    /// The expression, as Prometheus reads it.
    pub fn expression(&self) -> String {
        self.expr.replace('@', INSTALLATION)
    }
}

/// All alerts, in the order of the file.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "LandfallAbsent",
        severity: Critical,
        pending: "5m",
        expr: "absent(landfall_build_info)",
        summary: "Prometheus sees no replica of Landfall",
        description: "No replica runs, or Prometheus may not read the admin port. The other alerts are silent then. Pods start with their images as written, and are denied where a policy enforces.",
        fires: Fires {
            case: Case { series: &[], at: "6m" },
            labels: &[],
            ours: false,
            says: "Prometheus sees no replica of Landfall",
        },
        quiet: quiet(&[(r#"landfall_build_info{@0,version="0.1.0"}"#, "1x20")], "10m"),
    },
    Alert {
        name: "LandfallNotReady",
        severity: Critical,
        pending: "5m",
        expr: r#"max by (@, pod, condition) (landfall_condition{state="Unready"}) == 1"#,
        summary: "{{ $labels.pod }} of Landfall takes no requests: {{ $labels.condition }}",
        description: "The condition keeps this replica out of service. If it is so in every replica, nobody answers the API server.",
        fires: fires(
            &[(r#"landfall_condition{@0,condition="Certificate",state="Unready"}"#, "1x20")],
            "6m",
            &[("pod", "landfall-0"), ("condition", "Certificate")],
            "landfall-0 of Landfall takes no requests: Certificate",
        ),
        quiet: quiet(
            // It starts.
            &[(r#"landfall_condition{@0,condition="Registries",state="Unready"}"#, "1 1 0x20")],
            "6m",
        ),
    },
    Alert {
        name: "LandfallSecondDoorUnanswered",
        severity: Critical,
        pending: "0m",
        expr: r#"sum by (cluster, name) (increase(apiserver_admission_webhook_rejection_count{name=~"validate-.+[.]landfall[.]dev", error_type="calling_webhook_error"}[10m])) > 0
or
sum by (cluster, name) (apiserver_admission_webhook_rejection_count{name=~"validate-.+[.]landfall[.]dev", error_type="calling_webhook_error"}) > 0
unless
sum by (cluster, name) (apiserver_admission_webhook_rejection_count{name=~"validate-.+[.]landfall[.]dev", error_type="calling_webhook_error"} offset 10m) > 0"#,
        summary: "Pods are denied because Landfall did not answer the API server ({{ $labels.name }})",
        description: "The second door fails closed: in the namespaces of policies that enforce, no Pod starts while no replica answers.",
        fires: Fires {
            case: Case {
                series: &[(
                    r#"apiserver_admission_webhook_rejection_count{name="validate-0a.landfall.dev",type="validating",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"}"#,
                    "_x14 1",
                )],
                at: "15m",
            },
            labels: &[("name", "validate-0a.landfall.dev")],
            ours: false,
            says: "Pods are denied because Landfall did not answer the API server (validate-0a.landfall.dev)",
        },
        quiet: quiet(
            &[
                // A policy denies: an answer.
                (
                    r#"apiserver_admission_webhook_rejection_count{name="validate-0a.landfall.dev",type="validating",operation="CREATE",error_type="no_error",rejection_code="403"}"#,
                    "0+1x20",
                ),
                // Another webhook, and an old failure.
                (
                    r#"apiserver_admission_webhook_rejection_count{name="validate.example.com",type="validating",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"}"#,
                    "0+1x20",
                ),
                (
                    r#"apiserver_admission_webhook_rejection_count{name="validate-0a.landfall.dev",type="validating",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"}"#,
                    "7x20",
                ),
            ],
            "15m",
        ),
    },
    Alert {
        name: "LandfallFailOpen",
        severity: Warning,
        pending: "0m",
        expr: r#"sum by (cluster, name) (increase(apiserver_admission_webhook_fail_open_count{name="mutate.landfall.dev"}[10m])) > 0
or
sum by (cluster, name) (apiserver_admission_webhook_fail_open_count{name="mutate.landfall.dev"}) > 0
unless
sum by (cluster, name) (apiserver_admission_webhook_fail_open_count{name="mutate.landfall.dev"} offset 10m) > 0"#,
        summary: "The API server let Pods through without Landfall",
        description: "Landfall did not answer in time, or not at all. These Pods keep their images as written: they come from the primary, and start only while it is up.",
        fires: Fires {
            case: Case {
                series: &[(
                    r#"apiserver_admission_webhook_fail_open_count{name="mutate.landfall.dev",type="admit"}"#,
                    "_x14 1",
                )],
                at: "15m",
            },
            labels: &[("name", "mutate.landfall.dev")],
            ours: false,
            says: "The API server let Pods through without Landfall",
        },
        quiet: quiet(
            &[
                (
                    r#"apiserver_admission_webhook_fail_open_count{name="mutate.landfall.dev",type="admit"}"#,
                    "3x20",
                ),
                (
                    r#"apiserver_admission_webhook_fail_open_count{name="other.example.com",type="admit"}"#,
                    "0+1x20",
                ),
            ],
            "15m",
        ),
    },
    Alert {
        name: "LandfallPanicked",
        severity: Warning,
        pending: "0m",
        expr: "sum by (@) (increase(landfall_admission_panics_total[15m])) + sum by (@) (increase(landfall_http_panics_total[15m])) > 0",
        summary: "Landfall met an error of its own",
        description: "A review could not be judged because of a fault in Landfall. At the first door the Pod was let through as written; at the second the API server's failurePolicy decided.",
        fires: fires(
            &[
                ("landfall_admission_panics_total{@0}", "0x10 1x10"),
                ("landfall_http_panics_total{@0}", "0x20"),
            ],
            "12m",
            &[],
            "Landfall met an error of its own",
        ),
        quiet: quiet(
            &[("landfall_admission_panics_total{@0}", "2x60"), ("landfall_http_panics_total{@0}", "1x60")],
            "40m",
        ),
    },
    Alert {
        name: "LandfallGapOpen",
        severity: Warning,
        pending: "2m",
        expr: r#"max by (@, registry) (landfall_gap_oldest_age_seconds{axis="Presence"}) > 15 * 60"#,
        summary: "{{ $labels.registry }} has lacked an image for {{ $value | humanizeDuration }}",
        description: "An image that this cluster needs is not at this registry of the site, or not whole. While its primary is away, Pods with it do not start.",
        fires: fires(
            &[(r#"landfall_gap_oldest_age_seconds{@0,registry="ams",axis="Presence"}"#, "0+60x30")],
            "18m",
            &[AMS],
            "ams has lacked an image for 18m 0s",
        ),
        quiet: quiet(
            &[
                // It is replicated after ten minutes, and a new one comes. What waits for a scan is another alert.
                (r#"landfall_gap_oldest_age_seconds{@0,registry="ams",axis="Presence"}"#, "0+60x10 0+60x10"),
                (r#"landfall_gap_oldest_age_seconds{@0,registry="ams",axis="Scan"}"#, "86400x30"),
            ],
            "20m",
        ),
    },
    Alert {
        name: "LandfallScanGapOpen",
        severity: Info,
        pending: "2m",
        expr: r#"max by (@, registry) (landfall_gap_oldest_age_seconds{axis="Scan"}) > 15 * 60"#,
        summary: "{{ $labels.registry }} has held an image without a good scan for {{ $value | humanizeDuration }}",
        description: "The copy is there, and was not scanned there, or its scan found more than the policy allows. Landfall uses another site's copy, or denies the Pod, as the policy says.",
        fires: fires(
            &[(r#"landfall_gap_oldest_age_seconds{@0,registry="ams",axis="Scan"}"#, "0+60x30")],
            "18m",
            &[AMS],
            "ams has held an image without a good scan for 18m 0s",
        ),
        quiet: quiet(
            &[(r#"landfall_gap_oldest_age_seconds{@0,registry="ams",axis="Presence"}"#, "0+60x30")],
            "18m",
        ),
    },
    Alert {
        name: "LandfallReplicationSlow",
        severity: Warning,
        pending: "10m",
        expr: "histogram_quantile(0.95, sum by (@, route, le) (rate(landfall_replication_lag_seconds_bucket[1h]))) > 5 * 60",
        summary: "Copies of the route {{ $labels.route }} arrive more than 5 minutes late",
        description: "In the last hour, more than one copy in twenty came later than 5 minutes after the primary's. What is pushed now is missing here for as long.",
        fires: fires(
            &[
                (r#"landfall_replication_lag_seconds_bucket{@0,route="production",le="300.0"}"#, "0+1x90"),
                (r#"landfall_replication_lag_seconds_bucket{@0,route="production",le="900.0"}"#, "0+2x90"),
                (r#"landfall_replication_lag_seconds_bucket{@0,route="production",le="+Inf"}"#, "0+2x90"),
            ],
            "80m",
            &[("route", "production")],
            "Copies of the route production arrive more than 5 minutes late",
        ),
        quiet: quiet(
            &[
                // One of a hundred is late.
                (r#"landfall_replication_lag_seconds_bucket{@0,route="production",le="300.0"}"#, "0+99x90"),
                (r#"landfall_replication_lag_seconds_bucket{@0,route="production",le="900.0"}"#, "0+100x90"),
                (r#"landfall_replication_lag_seconds_bucket{@0,route="production",le="+Inf"}"#, "0+100x90"),
            ],
            "80m",
        ),
    },
    Alert {
        name: "LandfallReplicationRuleNotRun",
        severity: Warning,
        pending: "5m",
        expr: r#"max by (@, registry, finding) (landfall_gaps{finding=~"RuleOverdue|RuleIdle|RuleDisabled"}) > 0"#,
        summary: "A replication rule of {{ $labels.registry }} does not run ({{ $labels.finding }})",
        description: "RuleOverdue: a scheduled rule has not run for three times its interval. RuleIdle: something was pushed, and the rule did not follow. RuleDisabled: it is switched off. New images do not come to this site.",
        fires: fires(
            &[(r#"landfall_gaps{@0,registry="fra",finding="RuleOverdue"}"#, "1x20")],
            "6m",
            &[("registry", "fra"), ("finding", "RuleOverdue")],
            "A replication rule of fra does not run (RuleOverdue)",
        ),
        quiet: quiet(
            &[
                (r#"landfall_gaps{@0,registry="ams",finding="Missing"}"#, "4x20"),
                (r#"landfall_gaps{@0,registry="fra",finding="RuleIdle"}"#, "1x3 _x20"),
            ],
            "10m",
        ),
    },
    Alert {
        name: "LandfallReplicationFailing",
        severity: Warning,
        pending: "15m",
        expr: r#"max by (@, registry) (landfall_gaps{finding="RuleFailing"}) > 0"#,
        summary: "A replication rule of {{ $labels.registry }} fails",
        description: "Its last execution failed. Harbor does not try event-driven replications again, so what was pushed meanwhile stays away.",
        fires: fires(
            &[(r#"landfall_gaps{@0,registry="fra",finding="RuleFailing"}"#, "1x30")],
            "16m",
            &[("registry", "fra")],
            "A replication rule of fra fails",
        ),
        quiet: quiet(
            // The next execution succeeds.
            &[(r#"landfall_gaps{@0,registry="fra",finding="RuleFailing"}"#, "1x10 _x20")],
            "20m",
        ),
    },
    Alert {
        name: "LandfallHealingGaveUp",
        severity: Warning,
        pending: "5m",
        expr: "max by (@, registry) (landfall_healing_gaps_given_up) > 0",
        summary: "Healing has given up {{ $value }} gaps at {{ $labels.registry }}",
        description: "Five attempts have failed. Landfall tries again in a day; the object says why it failed and what a person should do.",
        fires: fires(
            &[(r#"landfall_healing_gaps_given_up{@0,registry="ams"}"#, "2x20")],
            "6m",
            &[AMS],
            "Healing has given up 2 gaps at ams",
        ),
        quiet: quiet(&[(r#"landfall_healing_gaps_given_up{@0,registry="ams"}"#, "0x20")], "10m"),
    },
    Alert {
        name: "LandfallSweepOverdue",
        severity: Warning,
        pending: "15m",
        expr: "time() - max by (@) (landfall_sweep_ended_timestamp_seconds) > 3600",
        summary: "What runs in the cluster was not read in time",
        description: "No replica has ended a sweep. What is missing is known only from what Pods meet at the doors, and gaps of what runs are not closed.",
        fires: fires(
            &[
                ("landfall_sweep_ended_timestamp_seconds{@0}", "600x120"),
                ("landfall_sweep_ended_timestamp_seconds{@1}", "0x120"),
            ],
            "90m",
            &[],
            "What runs in the cluster was not read in time",
        ),
        quiet: quiet(
            &[
                // Another replica leads now; before that there was none for a while.
                ("landfall_sweep_ended_timestamp_seconds{@0}", "600x120"),
                ("landfall_sweep_ended_timestamp_seconds{@1}", "0x72 4380+60x60"),
            ],
            "90m",
        ),
    },
    Alert {
        name: "LandfallRegistryUnreachable",
        severity: Warning,
        pending: "5m",
        expr: r#"max by (@, registry, state) (landfall_registry_health{state=~"Down|Unresponsive|DatabaseDown|NotARegistry|Unusable"}) == 1"#,
        summary: "The registry {{ $labels.registry }} cannot be used ({{ $labels.state }})",
        description: "If it is this site's, Pods get another site's copy, or are denied where a policy says so. If it is the primary, Pods live on what is here.",
        fires: fires(
            &[(r#"landfall_registry_health{@0,registry="ams",state="Down"}"#, "1x20")],
            "6m",
            &[AMS, ("state", "Down")],
            "The registry ams cannot be used (Down)",
        ),
        quiet: quiet(
            &[
                (r#"landfall_registry_health{@0,registry="ams",state="Slow"}"#, "1x20"),
                (r#"landfall_registry_health{@0,registry="ams",state="Down"}"#, "0 1 1 0x20"),
            ],
            "10m",
        ),
    },
    Alert {
        name: "LandfallBadCredentials",
        severity: Critical,
        pending: "2m",
        expr: r#"max by (@, registry) (landfall_registry_health{state="BadCredentials"}) == 1"#,
        summary: "The registry {{ $labels.registry }} rejects Landfall's credentials",
        description: "Nothing at this registry can be looked at, so no copy there counts.",
        fires: fires(
            &[(r#"landfall_registry_health{@0,registry="ams",state="BadCredentials"}"#, "1x20")],
            "3m",
            &[AMS],
            "The registry ams rejects Landfall's credentials",
        ),
        quiet: quiet(
            &[
                (r#"landfall_registry_health{@0,registry="ams",state="BadCredentials"}"#, "0x20"),
                (r#"landfall_registry_health{@0,registry="ams",state="Down"}"#, "1x20"),
            ],
            "6m",
        ),
    },
    Alert {
        name: "LandfallBreakerOpen",
        severity: Warning,
        pending: "5m",
        expr: "max by (@, registry) (landfall_registry_breaker) == 2",
        summary: "Landfall has stopped asking {{ $labels.registry }}, or a project of it",
        description: "So many look-ups failed that Landfall asks no more until a probe is answered. Copies there count as unknown meanwhile.",
        fires: fires(
            &[(r#"landfall_registry_breaker{@0,registry="ams"}"#, "2x20")],
            "6m",
            &[AMS],
            "Landfall has stopped asking ams, or a project of it",
        ),
        quiet: quiet(&[(r#"landfall_registry_breaker{@0,registry="ams"}"#, "2 2 1 0x20")], "8m"),
    },
    Alert {
        name: "LandfallCertificateEnding",
        severity: Critical,
        pending: "10m",
        expr: "min by (@) (landfall_certificate_expiry_timestamp_seconds > 0) - time() < 6 * 3600",
        summary: "The certificate that Landfall serves ends in {{ $value | humanizeDuration }}",
        description: "It was not renewed. When it has ended, no replica is ready: Pods start as written, and are denied where a policy enforces.",
        fires: fires(
            &[
                ("landfall_certificate_expiry_timestamp_seconds{@0}", "86400x60"),
                ("landfall_certificate_expiry_timestamp_seconds{@1}", "18000x60"),
            ],
            "20m",
            &[],
            "The certificate that Landfall serves ends in 4h 40m 0s",
        ),
        quiet: quiet(
            &[
                ("landfall_certificate_expiry_timestamp_seconds{@0}", "86400x60"),
                // It has none: LandfallNotReady says so.
                ("landfall_certificate_expiry_timestamp_seconds{@1}", "0x60"),
            ],
            "20m",
        ),
    },
    Alert {
        name: "LandfallCertificateNotRenewed",
        severity: Warning,
        pending: "1h",
        expr: r#"min by (@) (landfall_certificate_expiry_timestamp_seconds > 0) - time() < 14 * 86400
unless on (@)
max by (@) (landfall_certificate_authority_expiry_timestamp_seconds)
or
min by (@) (landfall_certificate_authority_expiry_timestamp_seconds > 0) - time() < 30 * 86400"#,
        summary: "A certificate of Landfall ends in {{ $value | humanizeDuration }} and was not renewed",
        description: "cert-manager renews 30 days before the end, and Landfall's own authority is followed by another one in time. Neither has happened, or nobody has brought a new certificate.",
        fires: fires(
            &[("landfall_certificate_expiry_timestamp_seconds{@0}", "864000x120")],
            "80m",
            &[],
            "A certificate of Landfall ends in 9d 22h 40m 0s and was not renewed",
        ),
        quiet: quiet(
            &[
                // Landfall's own certificates last for a day.
                ("landfall_certificate_expiry_timestamp_seconds{@0}", "86400x120"),
                ("landfall_certificate_authority_expiry_timestamp_seconds{@0}", "31536000x120"),
            ],
            "80m",
        ),
    },
    Alert {
        name: "LandfallConfigurationError",
        severity: Warning,
        pending: "2m",
        expr: "max by (@) (landfall_config_errors) > 0",
        summary: "The configuration of Landfall has {{ $value }} errors and is not in force",
        description: "The one before it stays in force. A replica that starts now refuses the file and does not run.",
        fires: fires(
            &[("landfall_config_errors{@0}", "0x3 2x20"), ("landfall_config_errors{@1}", "0x20")],
            "10m",
            &[],
            "The configuration of Landfall has 2 errors and is not in force",
        ),
        quiet: quiet(&[("landfall_config_errors{@0}", "0x3 2 0x20")], "10m"),
    },
    Alert {
        name: "LandfallPolicyRefused",
        severity: Warning,
        pending: "5m",
        expr: "max by (@) (landfall_policies_refused) > 0",
        summary: "{{ $value }} LandingPolicies are not in force as they are written",
        description: "What they would deny is admitted, or their last good version holds. Their status says why.",
        fires: fires(
            &[("landfall_policies_refused{@0}", "1x20")],
            "6m",
            &[],
            "1 LandingPolicies are not in force as they are written",
        ),
        quiet: quiet(&[("landfall_policies_refused{@0}", "0 1 0x20")], "7m"),
    },
    Alert {
        name: "LandfallDenialsRising",
        severity: Warning,
        pending: "5m",
        expr: r#"sum by (@, reason) (increase(landfall_admissions_total{verdict="Denied", dry_run="false"}[15m])) > 10
unless on (@, reason)
sum by (@, reason) (increase(landfall_admissions_total{verdict="Denied", dry_run="false"}[15m]))
<= 3 * sum by (@, reason) (increase(landfall_admissions_total{verdict="Denied", dry_run="false"}[1d] offset 15m)) / 96"#,
        summary: "Policies deny more Pods than usual ({{ $labels.reason }})",
        description: "More than 10 in 15 minutes, and more than three times as many as on average of the day before. Each attempt of a controller counts.",
        fires: fires(
            &[(
                r#"landfall_admissions_total{@0,verdict="Denied",reason="Denied",dry_run="false",door="Mutate"}"#,
                "0x60 0+2x60",
            )],
            "80m",
            &[("reason", "Denied")],
            "Policies deny more Pods than usual (Denied)",
        ),
        quiet: quiet(
            &[
                // One a minute, as every day; and dry runs, of which an audit makes many.
                (
                    r#"landfall_admissions_total{@0,verdict="Denied",reason="Denied",dry_run="false",door="Mutate"}"#,
                    "0+1x3000",
                ),
                (
                    r#"landfall_admissions_total{@0,verdict="Denied",reason="NotRouted",dry_run="true",door="Mutate"}"#,
                    "0+9x3000",
                ),
            ],
            "2900m",
        ),
    },
    Alert {
        name: "LandfallObservedDenialsRising",
        severity: Info,
        pending: "5m",
        expr: r#"sum by (@, policy) (increase(landfall_observed_policy_verdicts_total{verdict="Denied"}[15m])) > 10
unless on (@, policy)
sum by (@, policy) (increase(landfall_observed_policy_verdicts_total{verdict="Denied"}[15m]))
<= 3 * sum by (@, policy) (increase(landfall_observed_policy_verdicts_total{verdict="Denied"}[1d] offset 15m)) / 96"#,
        summary: "The policy {{ $labels.policy }} would deny more Pods than usual",
        description: "It only observes: nobody was denied. If it enforced now, these Pods would not start.",
        fires: fires(
            &[(
                r#"landfall_observed_policy_verdicts_total{@0,policy="regulated",verdict="Denied"}"#,
                "0x60 0+2x60",
            )],
            "80m",
            &[("policy", "regulated")],
            "The policy regulated would deny more Pods than usual",
        ),
        quiet: quiet(
            &[
                (
                    r#"landfall_observed_policy_verdicts_total{@0,policy="regulated",verdict="Allowed"}"#,
                    "0+9x90",
                ),
                (
                    r#"landfall_observed_policy_verdicts_total{@0,policy="regulated",verdict="Denied"}"#,
                    "0x60 0+1x8 8x20",
                ),
            ],
            "80m",
        ),
    },
    Alert {
        name: "LandfallLoop",
        severity: Warning,
        pending: "0m",
        expr: "sum by (@, preset) (increase(landfall_admission_recreated_pods_total[30m])) > 0
or
sum by (@, preset) (landfall_admission_recreated_pods_total) > 0
unless on (@, preset)
sum by (@, preset) (landfall_admission_recreated_pods_total offset 30m) > 0",
        summary: "A Pod that Landfall rewrote is created again and again (preset: {{ $labels.preset }})",
        description: "Most often its owner compares the images with what it wrote and deletes what differs. The next Pod is rewritten, too.",
        fires: fires(
            &[(r#"landfall_admission_recreated_pods_total{@0,preset="cnpg"}"#, "_x39 1")],
            "40m",
            &[("preset", "cnpg")],
            "A Pod that Landfall rewrote is created again and again (preset: cnpg)",
        ),
        quiet: quiet(
            // It was one yesterday.
            &[(r#"landfall_admission_recreated_pods_total{@0,preset="cnpg"}"#, "4x60")],
            "50m",
        ),
    },
    Alert {
        name: "LandfallNotificationsRejected",
        severity: Info,
        pending: "0m",
        expr: "sum by (@, reason) (increase(landfall_notifications_refused_total[30m])) > 3",
        summary: "Notifications are rejected ({{ $labels.reason }})",
        description: "A Harbor has an old secret or another format, or somebody tries the port. What Harbor tells is not heard: a new copy counts some seconds later.",
        fires: fires(
            &[(r#"landfall_notifications_refused_total{@0,reason="WrongSecret"}"#, "0+1x30")],
            "20m",
            &[("reason", "WrongSecret")],
            "Notifications are rejected (WrongSecret)",
        ),
        quiet: quiet(
            &[(r#"landfall_notifications_refused_total{@0,reason="WrongSecret"}"#, "0x10 2x20")],
            "20m",
        ),
    },
    Alert {
        name: "LandfallNoLeader",
        severity: Warning,
        pending: "5m",
        expr: "sum by (@) (landfall_leader) != 1",
        summary: "{{ $value }} replicas of Landfall lead, and it should be one",
        description: "Without a leader nobody sweeps, closes gaps, heals, keeps the entries of the second door or rotates certificates. Most often the Lease cannot be written.",
        fires: fires(
            &[("landfall_leader{@0}", "0x20"), ("landfall_leader{@1}", "0x20")],
            "6m",
            &[],
            "0 replicas of Landfall lead, and it should be one",
        ),
        quiet: quiet(&[("landfall_leader{@0}", "1x5 0x20"), ("landfall_leader{@1}", "0x7 1x20")], "12m"),
    },
    Alert {
        name: "LandfallDegraded",
        severity: Info,
        pending: "30m",
        expr: r#"max by (@, condition) (landfall_condition{state="Degraded"}) == 1"#,
        summary: "Landfall serves, and something is wrong: {{ $labels.condition }}",
        description: "Pods are still judged. `/readyz?verbose` of a replica says what is wrong.",
        fires: fires(
            &[(r#"landfall_condition{@0,condition="Inventory",state="Degraded"}"#, "1x60")],
            "32m",
            &[("condition", "Inventory")],
            "Landfall serves, and something is wrong: Inventory",
        ),
        quiet: quiet(
            &[(r#"landfall_condition{@0,condition="Namespaces",state="Degraded"}"#, "1x10 0x50")],
            "40m",
        ),
    },
];
