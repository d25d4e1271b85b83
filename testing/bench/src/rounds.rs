//! Rounds: all targets in turn, over and over, so that whatever else the machine does hits all alike.

use s3_client::Error;

use crate::load::{Bounds, Operation, Sample, Target};

/// One line of measuring.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// What is asked for.
    pub operation: Operation,
    /// By how many clients at once.
    pub at_once: usize,
}

/// What each target came to: medians of the rounds, in the order of the targets.
#[derive(Debug)]
pub struct Measured {
    /// What was measured.
    pub cell: Cell,
    /// One for each target.
    pub samples: Vec<Sample>,
}

/// Measures a cell on all targets.
///
/// # Errors
/// The target that failed, and its error.
pub async fn measure(
    targets: &[Target],
    cell: Cell,
    rounds: usize,
    bounds: Bounds,
) -> Result<Measured, (&'static str, Error)> {
    let mut all = vec![Vec::with_capacity(rounds); targets.len()];
    for _ in 0..rounds {
        for (target, samples) in targets.iter().zip(&mut all) {
            let run = target.run(cell.operation, cell.at_once, bounds);
            samples.push(run.await.map_err(|error| (target.name, error))?);
        }
    }
    Ok(Measured { cell, samples: all.iter().map(|samples| median(samples)).collect() })
}

/// The median of each number by itself; of rates rather than of counts, for rounds differ in length.
fn median(samples: &[Sample]) -> Sample {
    let middle = |number: &dyn Fn(&Sample) -> f64| {
        let mut numbers: Vec<f64> = samples.iter().map(number).collect();
        numbers.sort_unstable_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
    let count = |sample: &Sample| sample.requests as f64;
    Sample {
        requests: 1,
        seconds: middle(&|sample| sample.seconds / count(sample)),
        cpu_seconds: middle(&|sample| sample.cpu_seconds / count(sample)),
        p50_us: middle(&|sample| sample.p50_us),
        p99_us: middle(&|sample| sample.p99_us),
        peak_bytes: samples.iter().map(|sample| sample.peak_bytes).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_of_rates() {
        let sample =
            |requests, seconds, peak_bytes| Sample { requests, seconds, peak_bytes, ..Sample::default() };
        let middle = median(&[sample(10, 1.0, 5), sample(1, 3.0, 7), sample(4, 2.0, 6)]);
        assert_eq!((middle.requests, middle.seconds, middle.peak_bytes), (1, 0.5, 7));
    }
}
