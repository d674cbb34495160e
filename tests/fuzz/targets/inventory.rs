//! The inventory, packed and unpacked: whoever may write our ConfigMaps wrote it, or another version of ours.
#![no_main]

use landfall::facade::evidence::fuzz::{encode_text, read_all};
use landfall::facade::evidence::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    // As it lies there.
    let _packed = decode(text);
    let Ok(inventory) = decode(&encode_text(text)) else { return };
    assert!(read_all(&inventory) <= inventory.answers());
    // What was read is written as it was read.
    let (bytes, written) = encode(inventory.clone(), usize::MAX);
    assert_eq!(written, inventory);
    assert_eq!(decode(&bytes).as_ref(), Ok(&inventory));
    // However little room there is, something can be read.
    let (bytes, less) = encode(inventory, bytes.len() / 2);
    assert_eq!(decode(&bytes), Ok(less));
});
