//! Bech32 (BIP 173), the spelling of keys: a prefix, `1`, the data in 32 letters, six letters of checksum.

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_LETTERS: usize = 6;

/// Reads 32 bytes behind a prefix in lower case. The text is all lower case or all upper case. Never says why it is
/// refused: the text may be a secret.
pub(crate) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) && text.bytes().any(|b| b.is_ascii_lowercase()) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let letters = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let values: Option<Vec<u8>> = letters.bytes().map(value_of).collect();
    let values = values?;
    let data = values.len().checked_sub(CHECKSUM_LETTERS)?;
    if checksum(prefix, &values) != 1 {
        return None;
    }
    bytes_of(&values[..data])?.try_into().ok()
}

fn value_of(letter: u8) -> Option<u8> {
    LETTERS.iter().position(|known| *known == letter).and_then(|value| u8::try_from(value).ok())
}

/// The remainder of the whole word; that of a sound one is 1.
fn checksum(prefix: &str, values: &[u8]) -> u32 {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    high.chain([0]).chain(low).chain(values.iter().copied()).fold(1, |sum, value| {
        const FACTORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = sum >> 25;
        let shifted = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        (0..5).filter(|bit| top >> bit & 1 == 1).fold(shifted, |sum, bit| sum ^ FACTORS[bit])
    })
}

/// Puts groups of five bits together. What is left over must be less than a group, and zero.
fn bytes_of(values: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut pending, mut bits) = (Vec::new(), 0_u32, 0);
    for value in values {
        pending = pending << 5 | u32::from(*value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(pending >> bits & 0xff).expect("masked to eight bits"));
        }
    }
    (bits < 5 && pending & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification: its identity is 32 times `B`... spelled by the reference program.
    const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

    #[test]
    fn a_key_is_read_in_either_case() {
        assert_eq!(decode("age-secret-key-", IDENTITY), Some([0x42; 32]));
        assert_eq!(decode("age-secret-key-", &IDENTITY.to_lowercase()), Some([0x42; 32]));
    }

    #[test]
    fn every_wrong_letter_is_noticed() {
        for at in 0..IDENTITY.len() {
            for letter in [b'Q', b'7', b'B', b'q', b'1'] {
                let mut text = IDENTITY.as_bytes().to_vec();
                if text[at] != letter {
                    text[at] = letter;
                    let text = String::from_utf8(text).unwrap();
                    assert_eq!(decode("age-secret-key-", &text), None, "{text}");
                }
            }
        }
        for text in ["", "1", "age1", &IDENTITY[..IDENTITY.len() - 1], "AGE-SECRET-KEY-1"] {
            assert_eq!(decode("age-secret-key-", text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            let _ = decode("age", &text);
            let _ = decode("age", &format!("age1{text}"));
        }
    }
}
