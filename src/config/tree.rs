//! A YAML text as a tree. Every node has its line, its column and its path.
//!
//! The tree is built from the parser's events instead of deserializing directly, because serde stops at its first error:
//! the wrong node can be pruned from a tree, and the tree deserialized again (`decode`).

mod parse;

use std::fmt::Write as _;

use super::problem::{Problem, Severity};

/// A node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) usize);

/// A parsed file.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    line: usize,
    column: usize,
    parent: Option<NodeId>,
    step: Step,
    value: Value,
    pruned: bool,
}

/// How a node is reached from its parent.
#[derive(Debug, Clone)]
enum Step {
    Root,
    Key(Box<str>),
    Index(usize),
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A plain scalar: text, unless it reads as null, a boolean or a number.
    Plain(String),
    /// A quoted or block scalar: always text.
    Quoted(String),
    /// A sequence.
    List(Vec<NodeId>),
    /// A mapping: a node for each key and for its value.
    Map(Vec<(NodeId, NodeId)>),
}

impl Tree {
    pub(super) const ROOT: NodeId = NodeId(0);

    /// Parses a text with one document.
    ///
    /// # Errors
    /// The syntax error that stopped the parser. A mistake that does not stop it (a key that is written twice) is added to
    /// `problems` instead.
    pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Self, Problem> {
        parse::tree(text, problems)
    }

    #[expect(clippy::indexing_slicing, reason = "a NodeId is only ever made by pushing the node it names")]
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub(super) fn value(&self, id: NodeId) -> &Value {
        &self.node(id).value
    }

    pub(super) fn is_pruned(&self, id: NodeId) -> bool {
        self.node(id).pruned
    }

    /// Hides a node from `decode`. It stays in the tree, so that ids which point to it remain valid.
    pub(super) fn prune(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.pruned = true;
        }
    }

    /// The value under `key`, pruned or not.
    pub(super) fn child(&self, id: NodeId, key: &str) -> Option<NodeId> {
        let Value::Map(entries) = self.value(id) else { return None };
        entries.iter().find(|(name, _)| self.key(*name) == key).map(|(_, value)| *value)
    }

    /// The keys of a mapping, pruned or not; none if the node is not a mapping.
    pub(super) fn keys(&self, id: NodeId) -> impl Iterator<Item = &str> {
        let entries: &[_] = match self.value(id) {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|(name, _)| self.key(*name))
    }

    /// Whether a direct child of this node was pruned: then the node looks emptier than it is written.
    pub(super) fn has_pruned(&self, id: NodeId) -> bool {
        match self.value(id) {
            Value::Plain(_) | Value::Quoted(_) => false,
            Value::List(items) => items.iter().any(|item| self.is_pruned(*item)),
            Value::Map(entries) => {
                entries.iter().any(|(key, value)| self.is_pruned(*key) || self.is_pruned(*value))
            }
        }
    }

    pub(super) fn line(&self, id: NodeId) -> usize {
        self.node(id).line
    }

    fn key(&self, id: NodeId) -> &str {
        self.text(id).unwrap_or_default()
    }

    /// The text of a scalar, whatever its type.
    pub(super) fn text(&self, id: NodeId) -> Option<&str> {
        match self.value(id) {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The path of a node: `routes[0].replicas[1].flatten`.
    pub(super) fn path(&self, id: NodeId) -> String {
        let node = self.node(id);
        let mut path = node.parent.map(|parent| self.path(parent)).unwrap_or_default();
        match &node.step {
            Step::Root => {}
            Step::Index(index) => _ = write!(path, "[{index}]"),
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
        }
        path
    }

    /// A problem at a node.
    pub(super) fn problem(
        &self,
        severity: Severity,
        at: NodeId,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        let Node { line, column, .. } = *self.node(at);
        Problem { severity, line, column, path: self.path(at), message: message.into(), hint }
    }
}
