//! `landfall generate config`: a configuration to begin with.

use std::io::{self, Write};

/// The file, which the reference of the configuration shows, too.
const EXAMPLE: &str = include_str!("config.yaml");

/// Print a configuration to begin with: two sites, one route, and a comment on everything else that may be written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  landfall generate config > landfall.yaml\n  landfall check --no-files landfall.yaml"
)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, out: &mut impl Write) -> io::Result<()> {
    out.write_all(EXAMPLE.as_bytes())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::config::{self, Files};

    /// The example with all that may be written besides.
    fn whole() -> String {
        let lines = EXAMPLE.lines().map(|line| {
            let shown = line.trim_start();
            let is_key =
                shown.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
            if is_key { format!("{}\n", line.replacen('#', "", 1)) } else { format!("{line}\n") }
        });
        lines.collect()
    }

    #[test]
    fn it_can_be_used_and_so_can_what_is_commented_out() {
        // The day before the dates in it.
        let now: Timestamp = "2099-01-30T12:00:00Z".parse().unwrap();
        for text in [EXAMPLE, &whole()] {
            let loaded = config::parse(text, "config.yaml", Files::Skip, now);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(loaded.warnings.problems, [], "{text}");
        }
    }

    /// Every key that the schema knows stands in it.
    #[test]
    fn it_shows_every_key() {
        fn keys(schema: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
            match schema {
                serde_json::Value::Object(map) => {
                    if let Some(serde_json::Value::Object(properties)) = map.get("properties") {
                        found.extend(properties.keys().cloned());
                    }
                    map.values().for_each(|value| keys(value, found));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
                _ => {}
            }
        }
        let mut found = std::collections::BTreeSet::new();
        keys(&config::schema().to_value(), &mut found);
        let text = whole();
        let lacking: Vec<_> = found.iter().filter(|key| !text.contains(&format!("{key}:"))).collect();
        assert!(found.len() > 80 && lacking.is_empty(), "{} keys, it lacks {lacking:?}", found.len());
    }

    /// What is commented out with the value that counts anyway changes nothing.
    #[test]
    fn the_defaults_that_it_shows_are_the_defaults() {
        let schema = config::schema().to_value();
        let text = whole();
        for (definition, key) in [
            ("Cache", "present"),
            ("Cache", "remember"),
            ("Cache", "tag"),
            ("Cache", "absent"),
            ("Cache", "scan"),
            ("Cache", "entries"),
            ("Budget", "request"),
            ("Budget", "attempt"),
            ("Budget", "inFlight"),
            ("Defaults", "onMissing"),
            ("Defaults", "onStale"),
            ("Defaults", "onUnknown"),
            ("Defaults", "onUnproved"),
            ("Defaults", "onUnscanned"),
            ("Defaults", "onVulnerable"),
            ("Defaults", "onUnrouted"),
            ("Healing", "mode"),
            ("Healing", "after"),
            ("Route", "tagProof"),
            ("Route", "pin"),
            ("Route", "rewrite"),
        ] {
            let default = &schema["$defs"][definition]["properties"][key]["default"];
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            assert!(text.contains(&format!("{key}: {default}")), "{definition}.{key}: {default}");
        }
    }
}
