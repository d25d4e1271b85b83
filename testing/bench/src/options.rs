//! What a run of the program covers.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::load::{Bounds, Operation};
use crate::rounds::Cell;

/// Requests of one round at most.
const REQUESTS_MAX: u64 = 50_000;

/// What to measure and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lines of the table.
    pub cells: Vec<Cell>,
    /// Rounds of each.
    pub rounds: usize,
    /// Of one round on one target.
    pub bounds: Bounds,
    /// Names of the targets besides the direct one.
    pub through: Vec<&'static str>,
}

/// What can stand between client and backend.
pub const THROUGH: [&str; 3] = ["factor 1", "factor 2", "directory"];

impl Options {
    /// From the command line. Ends the process where that is wrong.
    #[must_use]
    pub fn from_args() -> Self {
        Self::from_matches(&command().get_matches())
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let quick = matches.get_flag("quick");
        let only: Vec<&str> =
            matches.get_many::<String>("only").into_iter().flatten().map(String::as_str).collect();
        // A kind of name that nothing was chosen of is not narrowed.
        let chosen =
            |name: &str, kind: &[&str]| only.contains(&name) || !kind.iter().any(|name| only.contains(name));
        let names = Operation::ALL.map(Operation::name);
        let at_once = matches.get_many::<usize>("clients").map(|all| all.copied().collect::<Vec<_>>());
        let at_once = at_once.unwrap_or_else(|| if quick { vec![16] } else { vec![1, 16, 32] });
        let operations = Operation::ALL.into_iter().filter(|op| chosen(op.name(), &names));
        let cells =
            operations.flat_map(|operation| at_once.iter().map(move |&at_once| Cell { operation, at_once }));
        let seconds = matches.get_one::<f64>("seconds").copied().unwrap_or(if quick { 0.5 } else { 1.5 });
        Self {
            cells: cells.collect(),
            rounds: if quick { 1 } else { 3 },
            bounds: Bounds { time: Duration::from_secs_f64(seconds), requests_max: REQUESTS_MAX },
            through: THROUGH.into_iter().filter(|name| chosen(name, &THROUGH)).collect(),
        }
    }
}

fn command() -> Command {
    let names = Operation::ALL.map(Operation::name).into_iter().chain(THROUGH);
    Command::new("bench")
        .about("Measures s3-orchestrator against direct access to the same in-memory backend")
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("one short round: some 20 seconds"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_parser(clap::builder::PossibleValuesParser::new(names))
                .help("only this operation, or only through this; may be repeated"),
        )
        .arg(
            Arg::new("clients")
                .long("clients")
                .value_name("N")
                .action(ArgAction::Append)
                .value_parser(value_parser!(usize))
                .help("so many clients at once; may be repeated"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .value_parser(value_parser!(f64))
                .help("of one round"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], cells: usize, through: usize, rounds: usize) {
        let matches = command().try_get_matches_from([&["bench"], args].concat()).unwrap();
        let options = Options::from_matches(&matches);
        assert_eq!((options.cells.len(), options.through.len(), options.rounds), (cells, through, rounds));
    }

    #[test]
    fn a_run_can_be_narrowed() {
        check(&[], 18, 3, 3);
        check(&["--quick"], 6, 3, 1);
        check(&["--only", "put-4k"], 3, 3, 3);
        check(&["--only", "put-4k", "--only", "factor 2", "--clients", "4"], 1, 1, 3);
        assert!(command().try_get_matches_from(["bench", "--only", "nothing"]).is_err());
    }
}
