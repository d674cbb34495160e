//! `defaults:` and `policies:`.

use std::sync::Arc;

use super::{Build, raw};
use crate::config::decode::{At, Entries};
use crate::config::tree::NodeId;
use crate::domain::api_group::{MODE, SKIP};
use crate::domain::finding::Action;
use crate::domain::name::PolicyName;
use crate::domain::policy::words::Operator;
use crate::domain::policy::{
    Actions, BreakGlass, Enforcement, Exception, LabelRequirement, LabelTest, Labels, OnUnknown,
    OnUnscannable, Policy, Rules, SYSTEM_NAMESPACES, Selector, Warning, bounds,
};
use crate::domain::scan::{Allowlist, Required, Requirement};

/// The built-in rules. They block nothing: Landfall denies a Pod only where the configuration or a policy says so.
pub(in crate::config) fn built_in() -> Rules {
    Rules {
        actions: Actions::default(),
        scan: Requirement {
            required: Required::Auto,
            max_severity: None,
            max_age: None,
            ignore: Arc::default(),
            allowlist: Allowlist::Honoured,
        },
        exceptions: Vec::new(),
    }
}

/// The action for what no scanner can scan, where nobody states it.
fn unscannable(required: Required, on_unscanned: Action) -> Action {
    if required == Required::Always { on_unscanned } else { Action::Accept }
}

impl Build<'_> {
    /// `defaults`; the built-in rules fill in what it leaves out.
    pub(super) fn defaults(&mut self, defaults: raw::Defaults) -> Rules {
        let mut rules = self.over(&built_in(), defaults, Allowlist::Honoured);
        // Only a policy blocks what it does not name.
        if let OnUnknown::Inherited(action) = rules.actions.on_unknown {
            rules.actions.on_unknown = OnUnknown::Stated(action);
        }
        rules
    }

    /// The written rules; `base` fills in what they leave out. The allowlist is never inherited: a policy that does not name
    /// it does not use it. Nor are exceptions.
    fn over(&mut self, base: &Rules, written: raw::Defaults, unnamed_allowlist: Allowlist) -> Rules {
        let raw::Defaults {
            on_missing,
            on_stale,
            on_unknown,
            on_unproved,
            on_unscanned,
            on_unscannable,
            on_vulnerable,
            on_unrouted,
            scan,
            exceptions,
        } = written;
        let exceptions = exceptions.unwrap_or_default().0;
        let exceptions = exceptions.into_iter().filter_map(|exception| self.exception(exception)).collect();
        let raw::Scan { required, max_severity, max_age, ignore, project_allowlist } =
            scan.unwrap_or_default();
        let Rules { actions, scan, exceptions: _ } = base;
        let required = required.unwrap_or(scan.required);
        let on_unscanned = on_unscanned.map_or(actions.on_unscanned, Action::from);
        Rules {
            actions: Actions {
                on_missing: on_missing.map_or(actions.on_missing, Action::from),
                on_stale: on_stale.map_or(actions.on_stale, Action::from),
                on_unknown: match on_unknown {
                    Some(action) => OnUnknown::Stated(action.into()),
                    None => OnUnknown::Inherited(actions.unknown()),
                },
                on_unproved: on_unproved.map_or(actions.on_unproved, Action::from),
                on_unscanned,
                on_unscannable: match (on_unscannable, actions.on_unscannable) {
                    (Some(action), _) => OnUnscannable::Stated(action.into()),
                    (None, OnUnscannable::Stated(action)) => OnUnscannable::Stated(action),
                    (None, OnUnscannable::Derived(_)) => {
                        OnUnscannable::Derived(unscannable(required, on_unscanned))
                    }
                },
                on_vulnerable: on_vulnerable.map_or(actions.on_vulnerable, Action::from),
                on_unrouted: on_unrouted.map_or(actions.on_unrouted, Action::from),
            },
            scan: Requirement {
                required,
                max_severity: max_severity.or(scan.max_severity),
                max_age: max_age.map(|length| length.0).or(scan.max_age),
                ignore: match ignore {
                    Some(ignore) => ignore.0.into_iter().map(|text| text.0).collect(),
                    None => scan.ignore.clone(),
                },
                allowlist: match project_allowlist {
                    Some(true) => Allowlist::Honoured,
                    Some(false) => Allowlist::Disregarded,
                    None => unnamed_allowlist,
                },
            },
            exceptions,
        }
    }

    /// `excluded` are the namespaces of `exclude.namespaces`.
    pub(super) fn policies(
        &mut self,
        policies: Vec<At<raw::Policy>>,
        defaults: &Rules,
        excluded: &[Box<str>],
    ) -> Vec<Arc<Policy>> {
        let mut seen = Vec::new();
        let mut built = Vec::new();
        for At { node, value } in policies {
            let raw::Policy { api_version, kind, metadata, spec } = value;
            // Each has one value so far. A second one does not compile until it is handled here.
            let (None | Some(raw::ApiVersion::V1Alpha1)) = api_version;
            let (None | Some(raw::PolicyKind::LandingPolicy)) = kind;
            let metadata = self.need(node, "metadata", metadata, "write `metadata: {name: …}`");
            let name = metadata.and_then(|At { node, value: raw::Metadata { name } }| {
                self.need(node, "name", name, "write the policy's name; denials show it")
            });
            if let Some(name) = &name {
                self.unique("policy", &mut seen, &name.value.0, name.node);
            }
            let spec = self.need(node, "spec", spec, "write what the policy requires");
            let name = name.map(|name| PolicyName::new(&*name.value.0));
            let policy = spec.and_then(|spec| self.policy(name, spec, defaults, excluded));
            built.extend(policy.map(Arc::new));
        }
        built
    }

    fn policy(
        &mut self,
        name: Option<PolicyName>,
        spec: At<raw::Spec>,
        defaults: &Rules,
        excluded: &[Box<str>],
    ) -> Option<Policy> {
        let At { node, value } = spec;
        let raw::Spec {
            namespace_selector,
            enforcement,
            on_missing,
            on_stale,
            on_unknown,
            on_unproved,
            on_unscanned,
            on_unscannable,
            on_vulnerable,
            on_unrouted,
            scan,
            exceptions,
            contact,
            warn,
            break_glass,
        } = value;
        let hint = "write `{}` for all namespaces, or `{matchLabels: {…}}`";
        let selector = self.need(node, "namespaceSelector", namespace_selector, hint);
        let selector = selector.map(|At { node, value }| {
            let selector = self.selector(node, value);
            self.left_alone(node, &selector, excluded);
            At { node, value: selector }
        });
        let enforcement = self.need(node, "enforcement", enforcement, "write `Enforce` or `Observe`");
        let rules = raw::Defaults {
            on_missing,
            on_stale,
            on_unknown,
            on_unproved,
            on_unscanned,
            on_unscannable,
            on_vulnerable,
            on_unrouted,
            scan,
            exceptions,
        };
        let rules = self.over(defaults, rules, Allowlist::Disregarded);
        if let Some(Enforcement::Enforce) = enforcement {
            self.enforced(node, selector.as_ref(), &rules.actions);
        }
        let break_glass = break_glass.map(|glass| self.break_glass(glass));
        Some(Policy {
            name: name?,
            selector: selector?.value,
            enforcement: enforcement?,
            rules,
            contact: contact.map(|text| text.0),
            warning: if warn == Some(true) { Warning::Sent } else { Warning::Withheld },
            break_glass: match break_glass {
                Some(glass) => Some(glass?),
                None => None,
            },
        })
    }

    fn break_glass(&mut self, glass: At<raw::BreakGlass>) -> Option<BreakGlass> {
        let At { node, value: raw::BreakGlass { until, namespaces, reason } } = glass;
        let hint = "it must end by itself: write a time, as in \"2027-01-31T00:00:00Z\"";
        let until = self.need(node, "until", until, hint);
        let reason = self.need(node, "reason", reason, "write why, for whoever reads the audit log later");
        if let Some(At { node, value }) = &until
            && self.now.duration_until(value.0) > bounds::EMERGENCY
        {
            self.warn(
                *node,
                format!("the policy is open until {}, for more than 24 hours", value.0),
                "what lasts longer is no emergency: set an earlier time, or change the policy".to_owned(),
            );
        }
        Some(BreakGlass {
            until: until?.value.0,
            namespaces: namespaces.unwrap_or_default().0.into_iter().map(|name| name.0).collect(),
            reason: reason?.value.0,
        })
    }

    /// A policy may not name a namespace whose Pods are left alone: it would not apply there.
    fn left_alone(&mut self, at: NodeId, selector: &Selector, excluded: &[Box<str>]) {
        for namespace in SYSTEM_NAMESPACES.into_iter().filter(|name| selector.names(name)) {
            let message =
                format!("the policy names the namespace `{namespace}`, which Landfall leaves alone");
            self.error(at, message, "without it no cluster comes up: name other namespaces".to_owned());
        }
        for namespace in excluded.iter().filter(|name| selector.names(name)) {
            let message = format!("the policy names the namespace `{namespace}`, which is excluded");
            let hint = "Landfall leaves it alone: remove it from `exclude.namespaces`, or from the policy";
            self.error(at, message, hint.to_owned());
        }
    }

    /// Says where an enforcing policy does more, or less, than its text shows.
    fn enforced(&mut self, at: NodeId, selector: Option<&At<Selector>>, actions: &Actions) {
        if matches!(actions.on_unknown, OnUnknown::Inherited(Action::Accept | Action::Fallback))
            && actions.unknown() == Action::Block
        {
            let hint = "write `onUnknown: Block` to confirm it; `onUnknown: Fallback` admits Pods whenever a registry cannot be asked, even images that the policy blocks";
            self.warn(
                at,
                "the policy blocks something and leaves out `onUnknown`, so it blocks what is unknown, too",
                hint.to_owned(),
            );
        }
        let opted_out = Labels::at_least([(MODE.to_owned(), SKIP.to_owned())]);
        if let Some(At { node, value: selector }) = selector
            && selector.matches(&opted_out)
        {
            let hint = format!(
                "nothing pins a tag there, so that Pods which name one are denied: label only namespaces that name digests; `matchExpressions: [{{key: {MODE}, operator: NotIn, values: [{SKIP}]}}]` says that this is meant"
            );
            let message = format!(
                "namespaces with the label `{MODE}: {SKIP}` can be selected: their Pods are judged, but not rewritten"
            );
            self.warn(*node, message, hint);
        }
    }

    pub(super) fn selector(&mut self, at: NodeId, selector: raw::Selector) -> Selector {
        let raw::Selector { match_labels, match_expressions } = selector;
        let labels = match_labels.map(|Entries(entries)| entries).unwrap_or_default();
        if labels.len() > bounds::LABELS {
            let hint = format!("use at most {}; `matchExpressions` takes more", bounds::LABELS);
            self.error(at, format!("`matchLabels` has {} labels", labels.len()), hint);
        }
        let labels = labels.into_iter().map(|(key, value)| LabelRequirement {
            key: key.value.0,
            test: LabelTest::In(vec![value.value.0]),
        });
        let expressions = match_expressions.unwrap_or_default().0;
        let expressions = expressions.into_iter().filter_map(|expression| self.expression(expression));
        Selector::new(labels.chain(expressions).collect())
    }

    fn expression(&mut self, expression: At<raw::Expression>) -> Option<LabelRequirement> {
        let At { node, value: raw::Expression { key, operator, values } } = expression;
        let key = self.need(node, "key", key, "write the label's key");
        let operator =
            self.need(node, "operator", operator, "write `In`, `NotIn`, `Exists` or `DoesNotExist`")?;
        let spoiled = self
            .tree
            .child(node, "values")
            .is_some_and(|at| self.tree.is_pruned(at) || self.tree.has_pruned(at));
        let values: Vec<_> =
            values.map(|at| at.value.0).unwrap_or_default().into_iter().map(|value| value.0).collect();
        let wants_values = matches!(operator, Operator::In | Operator::NotIn);
        if wants_values == values.is_empty() && !spoiled {
            let (message, hint) = if wants_values {
                ("`values` is missing or empty", "`In` and `NotIn` need at least one value")
            } else {
                (
                    "`values` may not be given here",
                    "`Exists` and `DoesNotExist` look only at the key: remove `values`",
                )
            };
            self.error(node, message, hint.to_owned());
        }
        let test = match operator {
            Operator::In => LabelTest::In(values),
            Operator::NotIn => LabelTest::NotIn(values),
            Operator::Exists => LabelTest::Exists,
            Operator::DoesNotExist => LabelTest::DoesNotExist,
        };
        Some(LabelRequirement { key: key?.value.0, test })
    }

    fn exception(&mut self, exception: At<raw::Exception>) -> Option<Exception> {
        let At { node, value: raw::Exception { images, findings, until, reason } } = exception;
        let images = self.need(
            node,
            "images",
            images,
            "write which images are excepted, by their name at the primary",
        );
        let findings =
            self.need(node, "findings", findings, "write which findings are excepted, as in `[Vulnerable]`");
        let until = self.need(
            node,
            "until",
            until,
            "every exception must end: write a time, as in \"2027-01-31T00:00:00Z\"",
        );
        let reason = self.need(node, "reason", reason, "write why, for whoever reads it later");
        let lists = [
            images.as_ref().map(|at| (at.node, at.value.0.is_empty())),
            findings.as_ref().map(|at| (at.node, at.value.0.is_empty())),
        ];
        for (at, is_empty) in lists.into_iter().flatten() {
            if is_empty && !self.tree.has_pruned(at) {
                self.error(
                    at,
                    "the list is empty",
                    "an exception without entries has no effect: remove it, or fill the list".to_owned(),
                );
            }
        }
        if let Some(At { node, value }) = &until
            && value.0 <= self.now
        {
            self.warn(
                *node,
                format!("the exception ended at {}", value.0),
                "remove the exception, or set a later time".to_owned(),
            );
        }
        Some(Exception {
            images: images?.value.0.into_iter().map(|image| image.0).collect(),
            findings: findings?.value.0,
            until: until?.value.0,
            reason: reason?.value.0,
        })
    }
}
