//! Durations as Go writes them, and sizes in bytes.

use std::fmt;
use std::time::Duration;

use crate::report::Place;
use crate::scalar::{Scalar, Wrong};
use crate::show::Shown;

/// A number of bytes. Written as a whole number, or with a unit of 1,024: `256MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// So many KiB.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Scalar for ByteSize {
    const KIND: &'static str = "a size in bytes such as `1048576` or `256MB`";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(Wrong::message("must not be negative"));
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let number: u64 = digits.replace('_', "").parse().map_err(|_| Wrong::kind())?;
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(Wrong::hint("the units are B, KB, MB, GB and TB")),
        };
        // More bytes than a catalog can count are a slip of the finger.
        let bytes = number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Self).ok_or_else(|| Wrong::message("is above 8 EiB"))
    }

    fn placeholder() -> Self {
        Self(0)
    }

    fn show(&self) -> Shown {
        Shown::Bytes(self.0)
    }
}

/// Reads a duration as Go's `time.ParseDuration` does, except that time does not run backwards.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(Wrong::message("must not be negative"));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return Err(Wrong::kind());
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(Wrong::hint("add a unit: s, m or h")),
            "d" => return Err(Wrong::hint("there is no unit for days: write hours")),
            _ => return Err(Wrong::kind()),
        };
        nanos = nanos.checked_add(times(number, unit_nanos)?).ok_or_else(too_long)?;
        rest = after;
    }
    // The longest duration that Go knows, 292 years.
    let nanos = i64::try_from(nanos).map_err(|_| too_long())?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// A decimal number times a unit, in nanoseconds; finer digits are dropped.
fn times(number: &str, unit_nanos: u128) -> Result<u128, Wrong> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(Wrong::kind());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(18));
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| Wrong::kind())? };
    Ok(u128::from(whole) * unit_nanos + fraction * unit_nanos / scale)
}

fn too_long() -> Wrong {
    Wrong::message("is longer than 292 years")
}

/// Writes a duration in the largest units that need no fraction: `1h30m`, `1500ms`.
pub(crate) fn print_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let below_second = [(1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    if !nanos.is_multiple_of(1_000_000_000) {
        let (unit, name) =
            below_second.into_iter().find(|(unit, _)| nanos.is_multiple_of(*unit)).unwrap_or((1, "ns"));
        return format!("{}{name}", nanos / unit);
    }
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Option<Duration> {
        parse_duration(text).ok()
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("100ms", 100),
            ("0", 0),
            ("+2s", 2_000),
            (".5s", 500),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("1us"), Some(Duration::from_micros(1)));
        for text in ["", "5", "m", "5 m", "1d", "1.2.3s", ".s", "five", "99999999h", "1s-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn n142_no_duration_is_negative() {
        assert_eq!(parse_duration("-5m").unwrap_err().message.as_deref(), Some("must not be negative"));
    }

    #[test]
    fn a_printed_duration_reads_as_itself() {
        for text in ["5m", "1h30m", "1500ms", "24h", "1us", "0s", "1h1s"] {
            assert_eq!(print_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        let nothing = |_: &str| None;
        let report = crate::report::Report::new("", "", &nothing);
        let size = |text| <ByteSize as Scalar>::parse(text, &report.root()).ok();
        for (text, bytes) in [
            ("10737418240", 10 << 30),
            ("256MB", 256 << 20),
            ("256mb", 256 << 20),
            ("10 GB", 10 << 30),
            ("1_000", 1000),
            ("4KiB", 4096),
            ("5TB", 5 << 40),
            ("7B", 7),
            ("0", 0),
        ] {
            assert_eq!(size(text), Some(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MB", "-1", "1.5GB", "10PB", "99999999TB", "1e9"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
