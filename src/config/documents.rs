//! A text with several YAML documents, such as a file of LandingPolicies.

use super::tree::{Tree, Value};

/// One document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The document behind as many empty lines as stand before it, so that problems have the lines of the whole text.
    pub text: String,
}

/// Splits a text at the lines that begin with `---`, as YAML does. Documents without content are left out.
#[must_use]
pub fn documents(text: &str) -> Vec<Document> {
    let mut documents = vec![Document { line: 1, text: String::new() }];
    for (n, line) in text.lines().enumerate() {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if rest.is_some() {
            documents.push(Document { line: n + 1, text: "\n".repeat(n) });
        }
        if let Some(document) = documents.last_mut() {
            document.text += &rest.map_or_else(|| line.to_owned(), |rest| format!("   {rest}"));
            document.text.push('\n');
        }
    }
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|document| document.text.lines().any(is_content));
    documents
}

/// Whether a document is an object of Kubernetes: it names its kind.
#[must_use]
pub fn is_object(text: &str) -> bool {
    Tree::parse(text, &mut Vec::new()).is_ok_and(|tree| {
        matches!(tree.value(Tree::ROOT), Value::Map(_)) && tree.child(Tree::ROOT, "kind").is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_where_yaml_splits_it() {
        let text = "# a file\n---\na: |\n  --- text\n  more\n--- # second\nb: 1\n---\n---\n# nothing\n";
        let found = documents(text);
        let lines: Vec<_> = found.iter().map(|document| document.line).collect();
        assert_eq!(lines, [2, 6]);
        assert_eq!(found[1].text.lines().nth(6), Some("b: 1"), "on its own line");
        assert_eq!(documents("kind: X"), [Document { line: 1, text: "kind: X\n".to_owned() }]);
        assert!(
            is_object("kind: X")
                && is_object("{\"kind\": \"X\"}")
                && !is_object("site: a")
                && !is_object("- kind")
        );
    }
}
