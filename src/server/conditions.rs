//! Conditions: what should be true of this replica, each with a state and one sentence. They decide readiness.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use strum::VariantArray;

/// The name of a condition.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum ConditionName {
    /// The configuration is in force.
    Settings,
    /// A valid certificate is served.
    Certificate,
    /// The authorities of callers can be used.
    Callers,
    /// The labels of namespaces, which policies select by, are known.
    Namespaces,
    /// Every policy that is to enforce has its entry of the validating webhook.
    Entries,
    /// The policies from objects were listed once, and are in force as they are written.
    Policies,
    /// Every registry that a route names has been probed once, whatever it answered.
    Registries,
    /// The inventory was read, or could not be read in two seconds.
    Inventory,
    /// Each secret of a Harbor that notifies us can be used.
    Notifications,
    /// The pull secrets that Landfall makes are as they should be.
    PullSecrets,
    /// We take new requests: false while draining.
    Serving,
}

impl ConditionName {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The state of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum State {
    /// All is well.
    Good,
    /// Somebody should look, but we answer as before. Example: a new file is refused, and the old one stays in force.
    Degraded,
    /// We should get no requests.
    Unready,
}

impl State {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A state and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The state.
    pub state: State,
    /// The reason, as one sentence.
    pub message: String,
}

impl Condition {
    /// `Good`.
    pub fn good(message: impl Into<String>) -> Self {
        Self { state: State::Good, message: message.into() }
    }

    /// `Degraded`.
    pub fn degraded(message: impl Into<String>) -> Self {
        Self { state: State::Degraded, message: message.into() }
    }

    /// `Unready`.
    pub fn unready(message: impl Into<String>) -> Self {
        Self { state: State::Unready, message: message.into() }
    }
}

/// All conditions. A clone shares them.
///
/// Every condition starts `Unready`: a condition that nobody has set keeps this replica out of service. There are six
/// exceptions. `Serving`, `Callers`, `Notifications` and `PullSecrets` start `Good`. `Namespaces` starts `Degraded`: while labels are unknown, policies
/// apply to more Pods, but readiness does not wait for it. So does `Entries`, because entries wait for readiness.
#[derive(Debug, Clone)]
pub struct Conditions {
    all: Arc<ArcSwap<BTreeMap<ConditionName, Condition>>>,
    gauge: Family<[(&'static str, &'static str); 2], Gauge>,
}

impl Conditions {
    /// All conditions as they start, with the metric `landfall_condition`.
    pub fn register(registry: &mut Registry) -> Self {
        let gauge = Family::default();
        registry.register(
            "landfall_condition",
            "1 for the state that a condition is in, else 0",
            gauge.clone(),
        );
        let conditions = Self { all: Arc::default(), gauge };
        for name in ConditionName::VARIANTS {
            conditions.put(*name, Condition::unready("not known yet"));
        }
        conditions.put(ConditionName::Serving, Condition::good("takes requests"));
        conditions.put(ConditionName::Callers, Condition::good("anyone may call"));
        conditions.put(ConditionName::Notifications, Condition::good("no port listens for them"));
        conditions.put(ConditionName::PullSecrets, Condition::good("Landfall makes none"));
        conditions.put(ConditionName::Namespaces, Condition::degraded("not listed yet"));
        conditions.put(ConditionName::Entries, Condition::degraded("not looked at yet"));
        conditions
    }

    /// Sets one condition. Only a change is logged.
    pub fn set(&self, name: ConditionName, condition: Condition) {
        if self.all.load().get(&name) == Some(&condition) {
            return;
        }
        match condition.state {
            State::Good => tracing::info!(condition = %name, "{}", condition.message),
            State::Degraded | State::Unready => {
                tracing::warn!(condition = %name, state = condition.state.as_str(), "{}", condition.message);
            }
        }
        self.put(name, condition);
    }

    fn put(&self, name: ConditionName, condition: Condition) {
        for state in State::VARIANTS {
            let is_now = i64::from(*state == condition.state);
            let labels = [("condition", name.as_str()), ("state", state.as_str())];
            self.gauge.get_or_create(&labels).set(is_now);
        }
        self.all.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(name, condition.clone());
            all
        });
    }

    /// Whether we should get requests.
    pub fn is_ready(&self) -> bool {
        self.all.load().values().all(|condition| condition.state != State::Unready)
    }

    /// All conditions at this moment.
    pub fn snapshot(&self) -> Arc<BTreeMap<ConditionName, Condition>> {
        self.all.load_full()
    }
}
