//! Dates as HTTP and S3 spell them.

use std::fmt::Write as _;

use http::HeaderValue;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};
use types::Timestamp;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const FIXDATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
/// `Sun Nov  6 08:49:37 1994`
const ASCTIME: &[FormatItem<'_>] = format_description!(
    "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
);
/// `19941106T084937Z`
const COMPACT: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

fn parts(at: Timestamp) -> (Date, Time) {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (moment.date(), moment.time())
}

/// Appends `1994-11-06T08:49:37.123Z`.
pub(crate) fn iso_into(out: &mut String, at: Timestamp) {
    let (date, time) = parts(at);
    let (hour, minute, second) = time.as_hms();
    write!(
        out,
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        at.as_millis() % 1000,
    )
    .expect("a string takes all text");
}

/// The value of a `Last-Modified` header.
pub(crate) fn http_date(at: Timestamp) -> HeaderValue {
    let (date, time) = parts(at);
    let (hour, minute, second) = time.as_hms();
    let text = format!(
        "{}, {:02} {} {:04} {hour:02}:{minute:02}:{second:02} GMT",
        DAYS[usize::from(date.weekday().number_days_from_monday())],
        date.day(),
        MONTHS[usize::from(u8::from(date.month()) - 1)],
        date.year(),
    );
    HeaderValue::try_from(text).expect("a date is plain ASCII")
}

/// Reads a date in a header. What cannot be read is no date: such conditions are ignored (RFC 9110, 13.1.3).
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    let moment = PrimitiveDateTime::parse(text, FIXDATE)
        .or_else(|_| PrimitiveDateTime::parse(text, ASCTIME))
        .ok()?
        .assume_utc();
    from_moment(moment)
}

/// Reads the compact form of signatures.
pub(crate) fn parse_compact(text: &str) -> Option<Timestamp> {
    from_moment(PrimitiveDateTime::parse(text, COMPACT).ok()?.assume_utc())
}

fn from_moment(moment: OffsetDateTime) -> Option<Timestamp> {
    let seconds = u64::try_from(moment.unix_timestamp()).ok()?;
    Some(Timestamp::from_millis(seconds * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: u64 = 784_111_777_123;

    #[test]
    fn a_moment_is_written_in_both_forms() {
        let at = Timestamp::from_millis(MOMENT);
        let mut iso = String::new();
        iso_into(&mut iso, at);
        assert_eq!(iso, "1994-11-06T08:49:37.123Z");
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn dates_are_read_to_the_second() {
        let expected = Some(Timestamp::from_millis(MOMENT / 1000 * 1000));
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), expected);
        assert_eq!(parse_http_date("Sun Nov  6 08:49:37 1994"), expected);
        assert_eq!(parse_compact("19941106T084937Z"), expected);
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
