//! The configuration file and policies: every text is taken or refused, always alike, and each problem has its place.
#![no_main]

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use landfall::facade::config::{Files, Problems, parse, policy};
use landfall::facade::domain::policy::Rules;
use libfuzzer_sys::fuzz_target;

/// What a policy leaves out comes from here.
static DEFAULTS: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let example = include_str!("../../vectors/config/example.yaml");
    let loaded = parse(example, "example.yaml", Files::Skip, Timestamp::UNIX_EPOCH);
    loaded.expect("the example is good").settings.defaults
});

fuzz_target!(|text: &str| {
    let read = || parse(text, "landfall.yaml", Files::Skip, Timestamp::UNIX_EPOCH);
    match read() {
        Ok(loaded) => {
            placed(text, &loaded.warnings);
            assert_eq!(loaded.warnings.errors().count(), 0);
            let again = read().expect("what was good is good").settings;
            assert_eq!(format!("{:?}", loaded.settings), format!("{again:?}"));
            let _case = loaded.warnings.to_string();
        }
        Err(problems) => {
            placed(text, &problems);
            assert_ne!(problems.errors().count(), 0, "refused, and nothing is wrong");
        }
    }
    match policy(text, "policy.yaml", &DEFAULTS, &[], Timestamp::UNIX_EPOCH) {
        Ok((_, problems)) => placed(text, &problems),
        Err(problems) => {
            placed(text, &problems);
            assert_ne!(problems.errors().count(), 0, "refused, and nothing is wrong");
        }
    }
});

fn placed(text: &str, problems: &Problems) {
    // YAML ends a line at a carriage return, too.
    let lines = text.split(['\n', '\r']).count() + 1;
    for problem in &problems.problems {
        assert!((1..=lines).contains(&problem.line) && problem.column > 0, "{problem:?}");
        assert!(!problem.message.is_empty(), "{problem:?}");
    }
    let _said = problems.to_string();
}
