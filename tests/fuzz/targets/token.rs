//! A token server's answer: only what a header can carry is a token, and it is given up before it ends.
#![no_main]

use std::time::Duration;

use landfall::facade::registry::fuzz::token;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok((header, life)) = token(body) else { return };
    // What our reader skips, the reader of values may refuse: half a surrogate pair, say.
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return };
    let held = ["token", "access_token"].map(|field| answer[field].as_str().unwrap_or_default());
    let first = held.into_iter().find(|token| !token.is_empty()).expect("a token out of nothing");
    assert_eq!(header.as_bytes(), format!("Bearer {first}").as_bytes());
    assert!(header.is_sensitive());
    let stated = answer["expires_in"].as_f64().filter(|seconds| *seconds >= 1.0).unwrap_or(60.0);
    assert!(life > Duration::ZERO && life.as_secs_f64() < stated);
});
