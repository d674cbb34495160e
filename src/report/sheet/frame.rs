//! What all pages have in common: the frame, the bar, the inputs, and the line to sign.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::text::plain;

const STYLE: &str = include_str!("sheet.css");

/// For what such a report may be evidence. Regulation (EU) 2022/2554, Delegated Regulation (EU) 2024/1774, Directive (EU)
/// 2022/2555: they ask for tests of continuity plans, for scenarios, and for documented results.
const EVIDENCE: &str = "Supports evidence for: DORA, Regulation (EU) 2022/2554, Art. 11(6) (tests of continuity plans), Art. 12(2) and (6) (recovery, its time and point); Delegated Regulation (EU) 2024/1774, Art. 25 (scenarios, documented results, deficiencies); NIS 2, Directive (EU) 2022/2555, Art. 21(2)(c). It is no statement that anything complies with them.";

/// Something that went into a report: a file, by its name and the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name, as it was given.
    pub name: String,
    /// In hexadecimal digits.
    pub sha256: String,
}

impl Input {
    /// Of a file.
    #[must_use]
    pub fn of(file: &Path, bytes: &[u8]) -> Self {
        let digits = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: file.display().to_string(), sha256: digits }
    }
}

/// A whole page.
pub(super) fn page(title: &str, about: &[(&str, String)], body: &Markup, inputs: &[Input]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "Landfall " (env!("CARGO_PKG_VERSION")) };
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    dl.about { @for (name, value) in about { dt { (name) } dd { (cut(value)) } } }
                }
                main { (body) }
                footer {
                    (evidence(inputs))
                    (signature())
                }
            }
        }
    };
    page.into_string()
}

fn evidence(inputs: &[Input]) -> Markup {
    html! {
        section aria-labelledby="evidence" {
            h2 #evidence { "Evidence" }
            p { (EVIDENCE) }
            @if !inputs.is_empty() {
                table {
                    caption { "What went in, and the report as JSON" }
                    thead { tr { th scope="col" { "File" } th scope="col" { "SHA-256" } } }
                    tbody { @for Input { name, sha256 } in inputs { tr { td { (cut(name)) } td { code { (sha256) } } } } }
                }
            }
            p.small { "Made by Landfall " (env!("CARGO_PKG_VERSION")) "." }
        }
    }
}

fn signature() -> Markup {
    html! {
        section.sign aria-labelledby="sign" {
            h2 #sign { "Read and taken note of" }
            div.lines { @for what in ["Name, role", "Date", "Signature"] { div { span {} (what) } } }
        }
    }
}

/// A bar of parts, with the numbers beside it in words.
pub(super) fn bar(parts: &[(&str, &str, usize)]) -> Markup {
    let all = parts.iter().map(|(.., n)| n).sum::<usize>().max(1);
    let mut at = 0;
    let rects: Vec<(f64, f64, &str)> = parts
        .iter()
        .map(|(class, _, n)| {
            let (from, to) = (share(at, all), share(at + n, all));
            at += n;
            (from, to - from, *class)
        })
        .collect();
    let words: Vec<String> = parts.iter().map(|(_, name, n)| format!("{n} {name}")).collect();
    html! {
        figure {
            svg.bar viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(words.join(", ")) {
                @for (from, wide, class) in rects { @if wide > 0.0 { rect class=(class) x=(from) y="0" width=(wide) height="4" {} } }
            }
            figcaption { @for (class, name, n) in parts { span.key { span class={ "dot " (class) } {} (n) " " (name) } } }
        }
    }
}

/// In hundredths of the whole.
fn share(part: usize, all: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "numbers of workloads and images")]
    let share = part as f64 / all as f64 * 100.0;
    (share * 1_000.0).round() / 1_000.0
}

/// A list, or nothing.
pub(super) fn list(title: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            h3 { (title) }
            ul { @for line in lines { li { (cut(line)) } } }
        }
    }
}

/// A text from outside.
pub(super) fn cut(text: &str) -> String {
    plain(text).into_owned()
}

/// A table that may be wide.
pub(super) fn wide(table: &Markup) -> Markup {
    html! { div.wide tabindex="0" { (table) } }
}
