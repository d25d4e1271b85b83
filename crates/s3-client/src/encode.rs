//! How text is spelled in requests and answers: percent-encoding, dates.

use std::time::Duration;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use types::Timestamp;

/// Whether a slash stands for itself: in a path it does, in a query it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slash {
    Keep,
    Encode,
}

/// Appends `text` as signature version 4 spells it: all but the unreserved characters encoded, once,
/// and nothing normalised.
pub(crate) fn percent_encode(out: &mut String, text: &str, slash: Slash) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if is_unreserved(byte) || (byte == b'/' && slash == Slash::Keep) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Reads what a server spelled for `encoding-type=url`, where a plus is a space. `None` where it is no
/// such spelling, or not UTF-8.
pub(crate) fn url_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// The query of a request in its canonical form: sorted, encoded, each name with an equals sign.
pub(crate) fn canonical_query(pairs: &mut [(&str, &str)]) -> String {
    // The names are ours and need no encoding, so their order is the order of their encoded forms.
    pairs.sort_unstable();
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        percent_encode(&mut out, name, Slash::Encode);
        out.push('=');
        percent_encode(&mut out, value, Slash::Encode);
    }
    out
}

/// A moment as a signature spells it: `20130524T000000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AmzDate([u8; 16]);

impl AmzDate {
    pub(crate) fn at(moment: Timestamp) -> Self {
        let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
        let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut text = *b"00000000T000000Z";
        let year = u16::try_from(utc.year()).unwrap_or(0);
        let (century, rest) = (u8::try_from(year / 100).unwrap_or(0), u8::try_from(year % 100).unwrap_or(0));
        let fields = [
            (0, century),
            (2, rest),
            (4, utc.month() as u8),
            (6, utc.day()),
            (9, utc.hour()),
            (11, utc.minute()),
            (13, utc.second()),
        ];
        for (at, number) in fields {
            text[at] = b'0' + number / 10 % 10;
            text[at + 1] = b'0' + number % 10;
        }
        Self(text)
    }

    /// Date and time.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII digits, T and Z")
    }

    /// The date alone: `20130524`.
    pub(crate) fn day(&self) -> &str {
        &self.as_str()[..8]
    }
}

const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Reads an HTTP date (`Fri, 24 May 2013 00:00:00 GMT`).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let utc = PrimitiveDateTime::parse(text.trim(), HTTP_DATE).ok()?.assume_utc();
    Some(Timestamp::from_millis(u64::try_from(utc.unix_timestamp()).ok()?.checked_mul(1000)?))
}

/// Reads a date as it stands in XML (`2013-05-24T00:00:00.000Z`), down to the second.
pub(crate) fn iso_date(text: &str) -> Option<Timestamp> {
    let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let utc = PrimitiveDateTime::parse(text.get(..19)?, seconds).ok()?.assume_utc();
    // Anything but UTC would be a surprise in S3, and a wrong time worse than none.
    let rest = text[19..].strip_suffix('Z')?;
    let fraction = rest.strip_prefix('.').unwrap_or("0");
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Timestamp::from_millis(u64::try_from(utc.unix_timestamp()).ok()?.checked_mul(1000)?))
}

/// Reads a `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let until = http_date(text)?;
    Some(Duration::from_millis(until.as_millis().saturating_sub(now.as_millis())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str, slash: Slash) -> String {
        let mut out = String::new();
        percent_encode(&mut out, text, slash);
        out
    }

    #[test]
    fn encodes_all_but_the_unreserved() {
        assert_eq!(encoded("a-Z_0.~/ +%é", Slash::Keep), "a-Z_0.~/%20%2B%25%C3%A9");
        assert_eq!(encoded("a/../b//\0\n", Slash::Encode), "a%2F..%2Fb%2F%2F%00%0A");
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            prop_assert_eq!(url_decode(&encoded(&text, Slash::Encode)), Some(text.clone()));
            // A path is never normalised: whatever slashes and dots there were are still there.
            prop_assert_eq!(url_decode(&encoded(&text, Slash::Keep)), Some(text));
        }

        /// Against a spelling by `format!`, one byte at a time.
        #[test]
        fn encoding_is_that_of_the_slow_one(text in any::<String>()) {
            let slow: String = text.bytes().map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (b as char).to_string(),
                _ => format!("%{b:02X}"),
            }).collect();
            prop_assert_eq!(encoded(&text, Slash::Encode), slow);
        }

        #[test]
        fn decoding_never_panics(text in any::<String>()) {
            let _ = url_decode(&text);
            let _ = http_date(&text);
            let _ = iso_date(&text);
            let _ = retry_after(&text, Timestamp::default());
        }
    }

    #[test]
    fn a_plus_is_a_space_and_nonsense_is_none() {
        assert_eq!(url_decode("a+b%2Bc").as_deref(), Some("a b+c"));
        for bad in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(url_decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_are_spelled_for_signing() {
        let date = AmzDate::at(Timestamp::from_millis(1_369_353_600_999));
        assert_eq!((date.as_str(), date.day()), ("20130524T000000Z", "20130524"));
        assert_eq!(AmzDate::at(Timestamp::from_millis(1_709_251_199_000)).as_str(), "20240229T235959Z");
    }

    #[test]
    fn dates_in_xml_are_read() {
        for text in ["2013-05-24T00:00:00Z", "2013-05-24T00:00:00.999Z"] {
            assert_eq!(iso_date(text), http_date("Fri, 24 May 2013 00:00:00 GMT"), "{text}");
        }
        for bad in
            ["", "2013-05-24", "2013-05-24T00:00:00", "2013-05-24T00:00:00+02:00", "2013-05-24T00:00:00.xZ"]
        {
            assert_eq!(iso_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn http_dates_and_waits_are_read() {
        let may = http_date("Fri, 24 May 2013 00:00:00 GMT").unwrap();
        assert_eq!(may.as_millis(), 1_369_353_600_000);
        assert_eq!(http_date("yesterday"), None);
        let earlier = may.minus(Duration::from_secs(90));
        assert_eq!(retry_after("Fri, 24 May 2013 00:00:00 GMT", earlier), Some(Duration::from_secs(90)));
        assert_eq!(retry_after(" 7 ", may), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("-7", may), None);
    }
}
