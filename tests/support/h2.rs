//! HTTP/2 by hand, for peers that do not behave (RFC 9113, RFC 7541).

/// What a client says first, with settings of its own: identifier and value.
pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*frame(4, 0, 0, &settings)].concat()
}

/// The head of a request that goes on: HEADERS and, where it is long, CONTINUATION. Nothing is compressed.
pub fn head(stream: u32, method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "landfall"), (":path", path)];
    let block: Vec<u8> = pseudo.iter().chain(headers).flat_map(|(name, value)| field(name, value)).collect();
    let last = block.chunks(MAX_FRAME).count() - 1;
    let frames = block.chunks(MAX_FRAME).enumerate().flat_map(|(at, part)| {
        let (kind, end_headers) = (if at == 0 { 1 } else { 9 }, if at == last { 4 } else { 0 });
        frame(kind, end_headers, stream, part)
    });
    frames.collect()
}

const MAX_FRAME: usize = 16_384;

/// A literal field that enters no table.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A length with a prefix of seven bits, and the bytes as they are.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(rest as u8);
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
