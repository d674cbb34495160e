use super::*;

const EXAMPLE: &str = include_str!("../../tests/vectors/config/example.yaml");

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

#[test]
fn the_example_means_what_it_says() {
    let loaded =
        parse(EXAMPLE, "example.yaml", Files::Skip, now()).unwrap_or_else(|problems| panic!("{problems}"));
    insta::assert_debug_snapshot!(loaded);
}
