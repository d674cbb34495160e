//! The configuration file and policies: every text is taken or refused, always alike, and each problem has its place.
#![no_main]

use jiff::Timestamp;
use landfall::config::{Files, Problems, parse, policy};
use landfall::domain::policy::Rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = || parse(text, "landfall.yaml", Files::Skip, Timestamp::UNIX_EPOCH);
    match read() {
        Ok(loaded) => {
            placed(text, &loaded.warnings);
            assert_eq!(loaded.warnings.errors().count(), 0);
            assert_eq!(Some(loaded.settings), read().ok().map(|again| again.settings));
            let _case = loaded.warnings.to_string();
        }
        Err(problems) => {
            placed(text, &problems);
            assert_ne!(problems.errors().count(), 0, "refused, and nothing is wrong");
        }
    }
    match policy(text, "policy.yaml", &Rules::default(), Timestamp::UNIX_EPOCH) {
        Ok((_, problems)) => placed(text, &problems),
        Err(problems) => {
            placed(text, &problems);
            assert_ne!(problems.errors().count(), 0, "refused, and nothing is wrong");
        }
    }
});

fn placed(text: &str, problems: &Problems) {
    let lines = text.lines().count() + 1;
    for problem in &problems.problems {
        assert!((1..=lines).contains(&problem.line) && problem.column > 0, "{problem:?}");
        assert!(!problem.message.is_empty(), "{problem:?}");
    }
    let _said = problems.to_string();
}
