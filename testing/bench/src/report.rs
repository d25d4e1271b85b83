//! The table: each target beside the backend itself, and the program that came before beside both.

use crate::load::{LARGE_BYTES, Operation, Sample};
use crate::rounds::Measured;

/// Heads of the columns, and their widths.
const COLUMNS: [(&str, usize); 15] = [
    ("operation", 9),
    ("clients", 7),
    ("through", 10),
    ("req/s", 8),
    ("direct", 8),
    ("MiB/s", 7),
    ("direct", 7),
    ("CPU us/req", 10),
    ("Go", 5),
    ("CPU s/GiB", 9),
    ("Go", 5),
    ("p50 ms", 8),
    ("direct", 8),
    ("p99 ms", 8),
    ("direct", 8),
];
const LAST: (&str, usize) = ("peak MiB", 8);

/// The head of the table.
#[must_use]
pub fn head() -> String {
    let names = line(COLUMNS.iter().chain([&LAST]).map(|(name, _)| (*name).to_owned()));
    let rule = "-".repeat(names.len());
    format!("{names}\n{rule}")
}

/// One line for each target but the first, which is the backend itself.
#[must_use]
pub fn rows(names: &[&str], measured: &Measured) -> String {
    let Some((direct, others)) = measured.samples.split_first() else { return String::new() };
    let of_others = others.iter().zip(names.iter().skip(1));
    let rows: Vec<String> = of_others.map(|(sample, name)| row(name, measured, sample, direct)).collect();
    rows.join("\n")
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn row(name: &str, measured: &Measured, sample: &Sample, direct: &Sample) -> String {
    let operation = measured.cell.operation;
    let rate = |sample: &Sample| 1.0 / sample.seconds;
    let mebibytes = |sample: &Sample| rate(sample) * (LARGE_BYTES >> 20) as f64;
    let per_gibibyte = sample.cpu_seconds * (1_u64 << 30) as f64 / LARGE_BYTES as f64;
    let large = operation.is_large();
    let small_only = |text: String| if large { String::new() } else { text };
    let large_only = |text: String| if large { text } else { String::new() };
    let go = go_program(operation).filter(|_| name == "factor 1").unwrap_or_default();
    line([
        operation.name().to_owned(),
        measured.cell.at_once.to_string(),
        name.to_owned(),
        small_only(format!("{:.0}", rate(sample))),
        small_only(format!("{:.0}", rate(direct))),
        large_only(format!("{:.0}", mebibytes(sample))),
        large_only(format!("{:.0}", mebibytes(direct))),
        small_only(format!("{:.0}", sample.cpu_seconds * 1e6)),
        small_only(go.to_owned()),
        large_only(format!("{per_gibibyte:.2}")),
        large_only(go.to_owned()),
        format!("{:.2}", sample.p50_us / 1e3),
        format!("{:.2}", direct.p50_us / 1e3),
        format!("{:.2}", sample.p99_us / 1e3),
        format!("{:.2}", direct.p99_us / 1e3),
        format!("{}", sample.peak_bytes >> 20),
    ])
}

/// What the Go program of the same name was measured to cost on the same kind of machine and backend.
fn go_program(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::PutSmall => Some("540"),
        Operation::GetSmall => Some("300"),
        Operation::PutLarge => Some("2.8"),
        Operation::GetLarge => Some("0.26"),
        Operation::Head | Operation::List => None,
    }
}

fn line(fields: impl IntoIterator<Item = String>) -> String {
    let widths = COLUMNS.iter().chain([&LAST]).map(|(_, width)| *width);
    let padded = fields.into_iter().zip(widths).enumerate().map(|(index, (field, width))| {
        // Words to the left, numbers to the right.
        if matches!(index, 0 | 2) { format!("{field:<width$}") } else { format!("{field:>width$}") }
    });
    padded.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Cell;

    #[test]
    fn a_row_fits_its_head() {
        let sample = |seconds, cpu_seconds| Sample { requests: 1, seconds, cpu_seconds, ..Sample::default() };
        let check = |operation, expected: &[&str]| {
            let cell = Cell { operation, at_once: 16 };
            let measured = Measured { cell, samples: vec![sample(0.5e-3, 0.0), sample(1e-3, 200e-6)] };
            let text = rows(&["direct", "factor 1"], &measured);
            assert_eq!(text.len(), head().lines().next().unwrap().len());
            assert_eq!(text.split_whitespace().collect::<Vec<_>>()[..expected.len()], *expected);
        };
        check(Operation::PutSmall, &["put-4k", "16", "factor", "1", "1000", "2000", "200", "540"]);
        check(Operation::GetLarge, &["get-64m", "16", "factor", "1", "64000", "128000", "0.00", "0.26"]);
    }
}
