//! `WWW-Authenticate`, one header a line: what was read, written out again, is read alike.
#![no_main]

use std::fmt::Write as _;

use landfall::facade::registry::{Challenge, Scheme, challenges};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|headers: &[u8]| {
    let read = challenges(headers.split(|byte| *byte == b'\n'));
    let written = write(&read);
    assert_eq!(challenges([written.as_bytes()]), read, "written as `{written}`");
});

fn write(all: &[Challenge]) -> String {
    let mut header = String::new();
    for challenge in all {
        let scheme = match &challenge.scheme {
            Scheme::Basic => "Basic",
            Scheme::Bearer => "Bearer",
            Scheme::Other(other) => other,
        };
        assert!(!scheme.is_empty());
        header.push_str(scheme);
        for (index, (name, value)) in challenge.parameters.iter().enumerate() {
            assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "`{name}`");
            let value = value.replace('\\', r"\\").replace('"', r#"\""#);
            let comma = if index == 0 { "" } else { "," };
            let _infallible = write!(header, r#"{comma} {name}="{value}""#);
        }
        header.push_str(", ");
    }
    header
}
