//! The colours of a stylesheet, and their contrast (WCAG 2.2, "relative luminance" and "contrast ratio").

use std::collections::BTreeMap;

/// The variables `--name: #rrggbb` of each block of `:root`, by name.
pub fn schemes(style: &str) -> Vec<BTreeMap<String, String>> {
    let blocks = style.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap());
    let variables = |block: &str| {
        let pairs = block.split(';').filter_map(|pair| pair.trim().strip_prefix("--")?.split_once(": "));
        pairs.map(|(name, colour)| (name.to_owned(), colour.to_owned())).collect()
    };
    blocks.map(variables).collect()
}

pub fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(colour: &str) -> f64 {
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}
