//! Frames of an event stream (`application/vnd.amazon.eventstream`): lengths, headers, payload, checksums.

/// A frame with these headers, whose values are texts.
pub(crate) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    /// The type of a header's value that is a text.
    const TEXT: u8 = 7;
    /// Two lengths and two checksums.
    const AROUND: usize = 16;

    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).expect("names are short"));
        head.extend_from_slice(name.as_bytes());
        head.push(TEXT);
        head.extend_from_slice(&u16::try_from(value.len()).expect("values are short").to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).expect("frames are at most some megabytes").to_be_bytes();
    let mut frame = Vec::with_capacity(AROUND + head.len() + payload.len());
    frame.extend_from_slice(&length(AROUND + head.len() + payload.len()));
    frame.extend_from_slice(&length(head.len()));
    frame.extend_from_slice(&checksum(&frame).to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&checksum(&frame).to_be_bytes());
    frame
}

/// CRC-32 as in ISO 3309, a nibble at a time.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    const NIBBLES: [u32; 16] = {
        let mut table = [0; 16];
        let mut nibble = 0;
        while nibble < 16 {
            let mut rest = nibble as u32;
            let mut bit = 0;
            while bit < 4 {
                rest = if rest & 1 == 1 { rest >> 1 ^ POLYNOMIAL } else { rest >> 1 };
                bit += 1;
            }
            table[nibble] = rest;
            nibble += 1;
        }
        table
    };
    let step = |sum: u32, nibble: u32| sum >> 4 ^ NIBBLES[((sum ^ nibble) & 0xF) as usize];
    !bytes.iter().fold(u32::MAX, |sum, byte| step(step(sum, u32::from(*byte)), u32::from(*byte) >> 4))
}
