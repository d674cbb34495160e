//! Label selectors: which namespaces a policy applies to.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The label that the API server sets on every namespace, with the namespace's name as its value. Nobody can change it.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Namespaces that Landfall leaves alone whatever the webhook configuration says: without them no cluster comes up, and no
/// node stays. No policy may name them.
pub const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The labels of a namespace, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    known: BTreeMap<String, String>,
    others: Others,
}

/// Whether there may be labels besides the known ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Others {
    /// There are no other labels.
    #[default]
    Absent,
    /// There may be any other labels.
    Unknown,
}

impl Labels {
    /// No labels at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the name of the namespace that has these labels; empty where it is not known.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.known.get(NAMESPACE_NAME).map_or("", String::as_str)
    }

    /// These labels, and perhaps others that are not known.
    #[must_use]
    pub fn at_least(known: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { known: known.into_iter().collect(), others: Others::Unknown }
    }
}

/// Exactly these labels and no others.
impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(labels: I) -> Self {
        Self { known: labels.into_iter().collect(), others: Others::Absent }
    }
}

/// Exactly these labels and no others.
impl<const N: usize> From<[(String, String); N]> for Labels {
    fn from(labels: [(String, String); N]) -> Self {
        labels.into_iter().collect()
    }
}

/// A Kubernetes label selector: all requirements must hold. Without requirements it selects everything.
///
/// The requirements are sorted, so that two texts with the same requirements make the same selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<LabelRequirement>,
    id: SelectorId,
}

/// The path of the validating door; the id of a selector follows it.
pub const VALIDATE: &str = "/validate";

/// Names a selector by what it requires: equal selectors have the same one, in every replica and after every restart. It is
/// a part of the path of the validating door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SelectorId(u64);

impl fmt::Display for SelectorId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for SelectorId {
    type Err = NoSelectorId;

    fn from_str(text: &str) -> Result<Self, NoSelectorId> {
        let id = u64::from_str_radix(text, 16).map(Self).map_err(|_| NoSelectorId)?;
        // One spelling only: no sign, no capital, all 16 digits.
        if id.to_string() == text { Ok(id) } else { Err(NoSelectorId) }
    }
}

/// The text is no [`SelectorId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a selector's id has 16 digits of `0123456789abcdef`")]
pub struct NoSelectorId;

/// One requirement of a [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelRequirement {
    /// The key of the label.
    pub key: Box<str>,
    /// The condition on the label.
    pub test: LabelTest,
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelTest {
    /// The label is present with one of these values.
    In(Vec<Box<str>>),
    /// The label is absent, or present with none of these values.
    NotIn(Vec<Box<str>>),
    /// The label is present with any value.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Default for Selector {
    /// Selects everything.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Selector {
    /// A selector with these requirements. An entry of `matchLabels` is `In` with one value.
    #[must_use]
    pub fn new(mut requirements: Vec<LabelRequirement>) -> Self {
        for requirement in &mut requirements {
            if let LabelTest::In(values) | LabelTest::NotIn(values) = &mut requirement.test {
                values.sort_unstable();
                values.dedup();
            }
        }
        requirements.sort_unstable();
        requirements.dedup();
        let id = SelectorId::of(&requirements);
        Self { requirements, id }
    }

    /// Returns the requirements, sorted.
    #[must_use]
    pub fn requirements(&self) -> &[LabelRequirement] {
        &self.requirements
    }

    /// Returns what names it.
    #[must_use]
    pub fn id(&self) -> SelectorId {
        self.id
    }

    /// Whether the selector selects this namespace by its name. One that selects it only among all others does not.
    #[must_use]
    pub fn names(&self, namespace: &str) -> bool {
        let named = Labels::at_least([(NAMESPACE_NAME.to_owned(), namespace.to_owned())]);
        let names = |requirement: &LabelRequirement| {
            *requirement.key == *NAMESPACE_NAME && matches!(requirement.test, LabelTest::In(_))
        };
        self.requirements.iter().any(names) && self.matches(&named)
    }

    /// Whether the selector selects an object with these labels. An unknown label counts as if it matched: a policy must
    /// not be skipped because it is unknown whether it applies.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|LabelRequirement { key, test }| {
            let value = labels.known.get(&**key);
            if value.is_none() && labels.others == Others::Unknown {
                return true;
            }
            let among =
                |values: &[Box<str>]| value.is_some_and(|value| values.iter().any(|one| **one == **value));
            match test {
                LabelTest::In(values) => among(values),
                LabelTest::NotIn(values) => !among(values),
                LabelTest::Exists => value.is_some(),
                LabelTest::DoesNotExist => value.is_none(),
            }
        })
    }
}

impl Selector {
    /// Whether the selector selects an object with these labels, and would whatever the unknown ones are.
    #[must_use]
    pub fn surely_matches(&self, labels: &Labels) -> bool {
        let is_known = |one: &LabelRequirement| labels.known.contains_key(&*one.key);
        self.matches(labels) && (labels.others == Others::Absent || self.requirements.iter().all(is_known))
    }
}

impl SelectorId {
    /// Each text is preceded by its length, so that no two lists of requirements are written in the same way.
    fn of(requirements: &[LabelRequirement]) -> Self {
        let mut hash = Sha256::new();
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        for LabelRequirement { key, test } in requirements {
            text(key);
            let (operator, values) = match test {
                LabelTest::In(values) => ("In", values.as_slice()),
                LabelTest::NotIn(values) => ("NotIn", values.as_slice()),
                LabelTest::Exists => ("Exists", [].as_slice()),
                LabelTest::DoesNotExist => ("DoesNotExist", [].as_slice()),
            };
            text(operator);
            text(&values.len().to_string());
            values.iter().for_each(|value| text(value));
        }
        let hash = hash.finalize();
        Self(hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_in_kubernetes() {
        let labels = Labels::from([("tier".into(), "regulated".into())]);
        for (key, test, expected) in [
            ("tier", LabelTest::In(vec!["regulated".into()]), true),
            ("tier", LabelTest::In(vec!["open".into()]), false),
            ("zone", LabelTest::NotIn(vec!["x".into()]), true),
            ("tier", LabelTest::NotIn(vec!["regulated".into()]), false),
            ("tier", LabelTest::Exists, true),
            ("zone", LabelTest::DoesNotExist, true),
            ("zone", LabelTest::Exists, false),
        ] {
            let selector = Selector::new(vec![LabelRequirement { key: key.into(), test }]);
            assert_eq!(selector.matches(&labels), expected, "{selector:?}");
            let unknown = Labels::at_least([("tier".to_owned(), "regulated".to_owned())]);
            let (tier, selector) = (&*selector.requirements()[0].key == "tier", &selector);
            assert_eq!(selector.matches(&unknown), expected || !tier, "{selector:?}: the zone is unknown");
        }
        assert!(Selector::default().matches(&labels), "an empty selector selects everything");
    }

    #[test]
    fn the_same_requirements_in_another_order_are_the_same_selector() {
        let requirement = |key: &str, values: &[&str]| LabelRequirement {
            key: key.into(),
            test: LabelTest::In(values.iter().copied().map(Into::into).collect()),
        };
        let (a, b) = (requirement("a", &["1", "2"]), requirement("b", &["3"]));
        let one = Selector::new(vec![a.clone(), b.clone()]);
        let other = Selector::new(vec![b.clone(), requirement("a", &["2", "1", "2"]), b]);
        assert_eq!((&one, one.id()), (&other, other.id()));
        let id = one.id().to_string();
        assert_eq!((id.len(), id.parse()), (16, Ok(one.id())));
        for different in [vec![], vec![a], vec![requirement("a", &["12"])], vec![requirement("a1", &["2"])]] {
            assert_ne!(Selector::new(different).id(), one.id());
        }
        for wrong in ["", "1", "+123456789012345", "00000000000000AB", "00000000000000000"] {
            assert_eq!(wrong.parse::<SelectorId>(), Err(NoSelectorId), "{wrong}");
        }
    }
}
