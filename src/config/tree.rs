//! A YAML text as a tree whose every node knows its line, its column and its path.
//!
//! We build it from the parser's events instead of deserializing directly, because serde stops at the
//! first thing it does not like: a tree can be pruned of that thing and be asked again (`decode`).

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Problem, Severity};

/// The most nodes, aliases expanded: an answer to alias bombs, far above any real file.
const MAX_NODES: usize = 200_000;

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

    /// Parses a text of one document.
    ///
    /// # Errors
    /// The one syntax error that stopped the parser. What can be passed over (a key that stands twice)
    /// is added to `problems` instead.
    pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Self, Problem> {
        let mut grow = Grow {
            events: Parser::new_from_str(text),
            tree: Self { nodes: Vec::new() },
            anchors: HashMap::new(),
            problems,
        };
        grow.document().map_err(|stop| stop.problem(text))?;
        Ok(grow.tree)
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

    /// Takes a node out of what `decode` sees. It stays known: what names it does not dangle.
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

    /// The keys of a mapping, pruned or not; none where it is something else.
    pub(super) fn keys(&self, id: NodeId) -> impl Iterator<Item = &str> {
        let entries: &[_] = match self.value(id) {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|(name, _)| self.key(*name))
    }

    /// Whether something right under this node was pruned: what is left may look emptier than it was written.
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
        match self.value(id) {
            Value::Plain(text) | Value::Quoted(text) => text,
            Value::List(_) | Value::Map(_) => "",
        }
    }

    fn path(&self, id: NodeId) -> String {
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

    /// Says that something is wrong at a node.
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

/// Why the parser stopped.
enum Stop {
    Syntax(ScanError),
    TooLarge(Marker),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

impl Stop {
    fn problem(self, text: &str) -> Problem {
        let (mark, message) = match &self {
            Self::Syntax(error) => (*error.marker(), format!("not YAML: {}", error.info())),
            Self::TooLarge(mark) => (*mark, format!("more than {MAX_NODES} values, aliases expanded")),
        };
        let column = mark.col() + 1;
        let snippet = text.lines().nth(mark.line().saturating_sub(1)).map(|line| {
            let shown: String = line.chars().take(100).collect();
            format!("it stopped here:\n{shown}\n{:>column$}", '^')
        });
        let hint = snippet.filter(|_| column <= 100);
        Problem { severity: Severity::Error, line: mark.line(), column, path: String::new(), message, hint }
    }
}

struct Grow<'input, 'problems> {
    events: Parser<'input, serde_saphyr::granit_parser::StrInput<'input>>,
    tree: Tree,
    anchors: HashMap<usize, NodeId>,
    problems: &'problems mut Vec<Problem>,
}

impl<'input> Grow<'input, '_> {
    /// The next event that is data.
    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Stop> {
        loop {
            match self.events.next_event() {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok((event, span)))
                    if event.is_node() || matches!(event, Event::SequenceEnd | Event::MappingEnd) =>
                {
                    return Ok(Some((event, span)));
                }
                Some(Ok(_)) => {}
            }
        }
    }

    fn document(&mut self) -> Result<(), Stop> {
        match self.next()? {
            Some((event, span)) if event.is_node() => {
                self.grow(event, span, None, Step::Root)?;
            }
            _ => {
                let start = Span::empty(Marker::new(0, 1, 0));
                self.push(start.start, None, Step::Root, Value::Plain(String::new()))?;
            }
        }
        while let Some((event, span)) = self.next()? {
            if event.is_node() {
                let other = self.grow(event, span, None, Step::Root)?;
                let hint = Some("keep one document: what follows `---` is not read".to_owned());
                self.error(other, "a second document", hint);
            }
        }
        Ok(())
    }

    fn grow(
        &mut self,
        event: Event<'input>,
        span: Span,
        parent: Option<NodeId>,
        step: Step,
    ) -> Result<NodeId, Stop> {
        let tag = event.tag().map(|tag| tag.core_suffix().unwrap_or("?").to_owned());
        let anchor = event.anchor_id();
        let id = match event {
            Event::Alias(anchor) => match self.anchors.get(&anchor).copied() {
                Some(original) => self.copy(original, span.start, parent, step)?,
                None => {
                    let id = self.push(span.start, parent, step, Value::Plain(String::new()))?;
                    self.error(id, "an alias inside the very value it names", None);
                    id
                }
            },
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain && tag.as_deref() != Some("str");
                let text = text.into_owned();
                let value = if plain { Value::Plain(text) } else { Value::Quoted(text) };
                self.push(span.start, parent, step, value)?
            }
            Event::SequenceStart(..) => {
                let id = self.push(span.start, parent, step, Value::List(Vec::new()))?;
                let mut items = Vec::new();
                while let Some((event, span)) = self.next()?.filter(|(event, _)| event.is_node()) {
                    items.push(self.grow(event, span, Some(id), Step::Index(items.len()))?);
                }
                self.set(id, Value::List(items));
                id
            }
            Event::MappingStart(..) => {
                let id = self.push(span.start, parent, step, Value::Map(Vec::new()))?;
                let entries = self.entries(id)?;
                self.set(id, Value::Map(entries));
                id
            }
            // No other event is a node.
            _ => self.push(span.start, parent, step, Value::Plain(String::new()))?,
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, id);
        }
        if let Some(tag) = tag.filter(|tag| tag == "?") {
            self.error(id, format!("an unknown tag (`{tag}`)"), Some("remove the tag".to_owned()));
        }
        Ok(id)
    }

    fn entries(&mut self, map: NodeId) -> Result<Vec<(NodeId, NodeId)>, Stop> {
        let mut entries: Vec<(NodeId, NodeId)> = Vec::new();
        while let Some((event, span)) = self.next()?.filter(|(event, _)| event.is_node()) {
            let text = event.scalar().map(|(text, _)| Box::from(text));
            let step = Step::Key(text.clone().unwrap_or_else(|| "?".into()));
            let key = self.grow(event, span, Some(map), step.clone())?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.grow(event, span, Some(map), step)?;
            let Some(text) = text else {
                self.error(key, "a key that is not plain text", None);
                continue;
            };
            let twin = entries.iter().find(|(other, _)| self.tree.key(*other) == &*text);
            if let Some((first, _)) = twin {
                let line = self.tree.node(*first).line;
                let hint = format!("the first is on line {line}; keep one of them");
                self.error(key, "the same key twice", Some(hint));
            } else {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// An alias stands for a copy of what it names, with a path of its own.
    fn copy(
        &mut self,
        original: NodeId,
        mark: Marker,
        parent: Option<NodeId>,
        step: Step,
    ) -> Result<NodeId, Stop> {
        let value = self.tree.value(original).clone();
        let id = self.push(mark, parent, step, value.clone())?;
        let value = match value {
            scalar @ (Value::Plain(_) | Value::Quoted(_)) => scalar,
            Value::List(items) => {
                let copies = items.into_iter().enumerate();
                let copies = copies.map(|(at, item)| self.copy(item, mark, Some(id), Step::Index(at)));
                Value::List(copies.collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let copies = entries.into_iter().map(|(key, value)| {
                    let step = self.tree.node(key).step.clone();
                    let key = self.copy(key, mark, Some(id), step.clone())?;
                    Ok((key, self.copy(value, mark, Some(id), step)?))
                });
                Value::Map(copies.collect::<Result<_, Stop>>()?)
            }
        };
        self.set(id, value);
        Ok(id)
    }

    fn push(
        &mut self,
        mark: Marker,
        parent: Option<NodeId>,
        step: Step,
        value: Value,
    ) -> Result<NodeId, Stop> {
        let id = NodeId(self.tree.nodes.len());
        if id.0 >= MAX_NODES {
            return Err(Stop::TooLarge(mark));
        }
        let (line, column) = (mark.line(), mark.col() + 1);
        self.tree.nodes.push(Node { line, column, parent, step, value, pruned: false });
        Ok(id)
    }

    fn set(&mut self, id: NodeId, value: Value) {
        if let Some(node) = self.tree.nodes.get_mut(id.0) {
            node.value = value;
        }
    }

    fn error(&mut self, at: NodeId, message: impl Into<String>, hint: Option<String>) {
        let problem = self.tree.problem(Severity::Error, at, message, hint);
        self.problems.push(problem);
    }
}
