//! Circles: files of one room that import each other, directly or by way of others. A file that stands in a circle
//! cannot be read, moved or tested alone.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Circles that stay: a parent, and the children that are parts of it.
const NATURAL: &[&[&str]] = &[
    &["cli/demo", "cli/demo/page"],
    &["config/decode", "config/decode/node"],
    &["domain/decide", "domain/decide/assess", "domain/decide/assessment"],
];

/// Module → the modules of the same room that it imports. Test code and re-exports do not count.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Every circle that is not natural, as one line.
pub fn circles(sources: &[Source]) -> Vec<String> {
    let graph = graph(sources);
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|module| (module.as_str(), reach(&graph, module))).collect();
    let both = |a: &str, b: &str| reached[a].contains(b) && reached[b].contains(a);
    let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
    for module in graph.keys().filter(|module| both(module, module)) {
        circles.insert(graph.keys().map(String::as_str).filter(|other| both(module, other)).collect());
    }
    let unnatural = circles.iter().filter(|circle| !NATURAL.contains(&circle.as_slice()));
    unnatural.map(|circle| format!("these files import each other: {}", circle.join(", "))).collect()
}

fn graph(sources: &[Source]) -> Graph {
    let in_src = || sources.iter().filter(|source| !source.all_test && source.folder().is_some());
    let modules: BTreeSet<String> = in_src().map(|source| source.module().join("/")).collect();
    let imports = |source: &Source| {
        let own = source.module().join("/");
        let paths = source.paths().into_iter().filter(|path| !path.test && !path.reexport);
        let targets = paths.filter_map(|path| {
            let (root, inner) = path.segments.split_first()?;
            if root != "crate" {
                return None;
            }
            // The longest beginning of the path that is a file holds what the path names.
            (1..=inner.len()).rev().map(|n| inner[..n].join("/")).find(|module| modules.contains(module))
        });
        let same_room = |target: &String| *target != own && target.split('/').next() == own.split('/').next();
        (own.clone(), targets.filter(same_room).collect())
    };
    in_src().map(imports).collect()
}

fn reach<'g>(graph: &'g Graph, from: &str) -> BTreeSet<&'g str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}
