//! A chapter of README, followed step by step: its commands are run as they stand there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::plane::{Plane, until};

/// README's chapter, read from its beginning to its end.
pub struct Chapter {
    plane: &'static Plane,
    /// Where its commands are typed.
    folder: PathBuf,
    rest: String,
}

impl Chapter {
    /// The chapter with this heading.
    pub fn open(plane: &'static Plane, heading: &str) -> Self {
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let (_, chapter) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
        Self { plane, folder: root().to_owned(), rest: chapter.split("\n## ").next().unwrap().to_owned() }
    }

    /// The same, typed in another folder.
    pub fn typed_in(self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    /// The next block of code of this kind.
    pub fn next(&mut self, kind: &str) -> String {
        let (prose, rest) = self.rest.split_once(&format!("\n```{kind}\n")).unwrap();
        assert!(!prose.contains("```"), "a block is passed over: {prose}");
        let (block, rest) = rest.split_once("\n```\n").unwrap();
        let block = block.to_owned();
        self.rest = format!("\n{rest}");
        block
    }

    /// Runs the next commands, and returns them with what they said.
    pub fn follow(&mut self) -> (String, String) {
        let commands = self.next("console");
        let said = self.run(&commands);
        (commands, said)
    }

    pub fn run(&self, commands: &str) -> String {
        self.plane.shell(&self.folder, commands)
    }

    /// What this command says when it fails; nothing where it does not.
    pub fn refusal(&self, command: &str) -> String {
        let said = self.run(&format!("{command} && echo ADMITTED || true"));
        if said.contains("ADMITTED") { String::new() } else { said }
    }

    /// Waits until this command, as a dry run, succeeds or not.
    pub fn until(&self, what: &str, command: &str, admitted: bool) -> String {
        until(what, || {
            let said = self.refusal(&format!("{command} --dry-run=server"));
            (said.is_empty() == admitted).then_some(said)
        })
    }

    /// Whether nothing is left to follow.
    pub fn is_over(&self) -> bool {
        !self.rest.contains("```")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
