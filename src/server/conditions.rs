//! Conditions: what must hold before this replica should be asked, each with its state and one sentence.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionName {
    /// The settings in force.
    Settings,
    /// The certificate that is served.
    Certificate,
    /// Who may call.
    Callers,
    /// The labels of namespaces, which policies select by.
    Namespaces,
    /// Every registry that a route names has been probed once, whatever it answered.
    Registries,
    /// We take new work; not so while draining.
    Serving,
}

impl ConditionName {
    const ALL: [Self; 6] =
        [Self::Settings, Self::Certificate, Self::Callers, Self::Namespaces, Self::Registries, Self::Serving];

    fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "Settings",
            Self::Certificate => "Certificate",
            Self::Callers => "Callers",
            Self::Namespaces => "Namespaces",
            Self::Registries => "Registries",
            Self::Serving => "Serving",
        }
    }
}

impl fmt::Display for ConditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Somebody should look, but we answer as well as before: an unusable new file while the old one is in force.
    Degraded,
    /// We should not be asked.
    Unready,
}

impl State {
    const ALL: [Self; 3] = [Self::Good, Self::Degraded, Self::Unready];

    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "Good",
            Self::Degraded => "Degraded",
            Self::Unready => "Unready",
        }
    }
}

/// A state and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How it stands.
    pub state: State,
    /// One sentence for a person.
    pub message: String,
}

impl Condition {
    /// As it should be.
    pub fn good(message: impl Into<String>) -> Self {
        Self { state: State::Good, message: message.into() }
    }

    /// Not as it should be, but still able to answer.
    pub fn degraded(message: impl Into<String>) -> Self {
        Self { state: State::Degraded, message: message.into() }
    }

    /// Not able to answer as we should.
    pub fn unready(message: impl Into<String>) -> Self {
        Self { state: State::Unready, message: message.into() }
    }
}

/// All conditions, shared. A clone is a handle to the same.
///
/// Every condition starts `Unready`, so that what nobody has set keeps this replica out of service; only `Serving` and
/// `Callers` start `Good`, and `Namespaces` `Degraded`: what is not known of them makes policies stricter, and nobody
/// wait.
#[derive(Debug, Clone)]
pub struct Conditions {
    all: Arc<ArcSwap<BTreeMap<ConditionName, Condition>>>,
    gauge: Family<[(&'static str, &'static str); 2], Gauge>,
}

impl Conditions {
    /// All conditions at their start, shown as the metric `landfall_condition`.
    pub fn register(registry: &mut Registry) -> Self {
        let gauge = Family::default();
        registry.register("landfall_condition", "1 for the state a condition is in, else 0", gauge.clone());
        let conditions = Self { all: Arc::default(), gauge };
        for name in ConditionName::ALL {
            conditions.put(name, Condition::unready("not known yet"));
        }
        conditions.put(ConditionName::Serving, Condition::good("takes requests"));
        conditions.put(ConditionName::Callers, Condition::good("anyone may call"));
        conditions.put(ConditionName::Namespaces, Condition::degraded("not listed yet"));
        conditions
    }

    /// Sets one condition. A change is logged, a repetition is not.
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
        for state in State::ALL {
            let is_now = i64::from(state == condition.state);
            let labels = [("condition", name.as_str()), ("state", state.as_str())];
            self.gauge.get_or_create(&labels).set(is_now);
        }
        self.all.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(name, condition.clone());
            all
        });
    }

    /// One moment's view of them all.
    pub fn snapshot(&self) -> Arc<BTreeMap<ConditionName, Condition>> {
        self.all.load_full()
    }
}
