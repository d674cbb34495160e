//! Builds a [`Tree`] from the events of the YAML parser.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::{Node, NodeId, Step, Tree, Value};
use crate::config::problem::{Problem, Severity};

/// The most nodes, with aliases expanded. It stops alias bombs and is far above any real file.
const MAX_NODES: usize = 200_000;

/// The most problems that are kept: each holds its path, so that a file full of mistakes would take much memory.
const MAX_PROBLEMS: usize = 100;

/// See [`Tree::parse`].
pub(super) fn tree(text: &str, problems: &mut Vec<Problem>) -> Result<Tree, Problem> {
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        tree: Tree { nodes: Vec::new() },
        anchors: HashMap::new(),
        problems,
    };
    builder.document().map_err(|stopped| stopped.problem(text))?;
    Ok(builder.tree)
}

/// Why parsing stopped.
enum Stopped {
    Syntax(ScanError),
    TooLarge(Marker),
}

impl From<ScanError> for Stopped {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

impl Stopped {
    fn problem(self, text: &str) -> Problem {
        let (mark, message) = match &self {
            Self::Syntax(error) => (*error.marker(), format!("the file is not valid YAML: {}", error.info())),
            Self::TooLarge(mark) => {
                (*mark, format!("the file has more than {MAX_NODES} values, with aliases expanded"))
            }
        };
        let column = mark.col() + 1;
        let snippet = text.lines().nth(mark.line().saturating_sub(1)).map(|line| {
            let shown: String = line.chars().take(100).collect();
            format!("the parser stopped here:\n{shown}\n{:>column$}", '^')
        });
        let hint = snippet.filter(|_| column <= 100);
        Problem { severity: Severity::Error, line: mark.line(), column, path: String::new(), message, hint }
    }
}

struct Builder<'input, 'problems> {
    events: Parser<'input, StrInput<'input>>,
    tree: Tree,
    anchors: HashMap<usize, NodeId>,
    problems: &'problems mut Vec<Problem>,
}

impl<'input> Builder<'input, '_> {
    /// The next event that is data.
    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Stopped> {
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

    fn document(&mut self) -> Result<(), Stopped> {
        match self.next()? {
            Some((event, span)) if event.is_node() => {
                self.node(event, span, None, Step::Root)?;
            }
            _ => {
                let start = Span::empty(Marker::new(0, 1, 0));
                self.push(start.start, None, Step::Root, Value::Plain(String::new()))?;
            }
        }
        while let Some((event, span)) = self.next()? {
            if event.is_node() {
                let other = self.node(event, span, None, Step::Root)?;
                let hint = Some("keep one document: the text after `---` is not read".to_owned());
                self.error(other, "the file has a second document", hint);
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        event: Event<'input>,
        span: Span,
        parent: Option<NodeId>,
        step: Step,
    ) -> Result<NodeId, Stopped> {
        let tag = event.tag().map(|tag| tag.core_suffix().unwrap_or("?").to_owned());
        let anchor = event.anchor_id();
        let id = match event {
            Event::Alias(anchor) => match self.anchors.get(&anchor).copied() {
                Some(original) => self.copy(original, span.start, parent, step)?,
                None => {
                    let id = self.push(span.start, parent, step, Value::Plain(String::new()))?;
                    self.error(
                        id,
                        "the alias is inside the value that it names",
                        Some("write the value out".to_owned()),
                    );
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
                    items.push(self.node(event, span, Some(id), Step::Index(items.len()))?);
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
            self.error(id, format!("the tag `{tag}` is not supported"), Some("remove the tag".to_owned()));
        }
        Ok(id)
    }

    fn entries(&mut self, map: NodeId) -> Result<Vec<(NodeId, NodeId)>, Stopped> {
        let mut entries: Vec<(NodeId, NodeId)> = Vec::new();
        let mut lines: HashMap<Box<str>, usize> = HashMap::new();
        while let Some((event, span)) = self.next()?.filter(|(event, _)| event.is_node()) {
            let text = event.scalar().map(|(text, _)| Box::from(text));
            let step = Step::Key(text.clone().unwrap_or_else(|| "?".into()));
            let key = self.node(event, span, Some(map), step.clone())?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, Some(map), step)?;
            let Some(text) = text else {
                self.error(key, "the key is not plain text", Some("write the key as text".to_owned()));
                continue;
            };
            if let Some(line) = lines.get(&text) {
                let hint = format!("it is first written on line {line}; keep one of them");
                self.error(key, "the key is written twice", Some(hint));
            } else {
                lines.insert(text, self.tree.line(key));
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// An alias becomes a copy of the value that it names, with its own path.
    fn copy(
        &mut self,
        original: NodeId,
        mark: Marker,
        parent: Option<NodeId>,
        step: Step,
    ) -> Result<NodeId, Stopped> {
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
                Value::Map(copies.collect::<Result<_, Stopped>>()?)
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
    ) -> Result<NodeId, Stopped> {
        let id = NodeId(self.tree.nodes.len());
        if id.0 >= MAX_NODES {
            return Err(Stopped::TooLarge(mark));
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
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(self.tree.problem(Severity::Error, at, message, hint));
        }
    }
}
