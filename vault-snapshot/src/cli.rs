//! The command line. Flags may be written with one dash or two, a value behind `=` or in the next word.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use config::with_double_dashes;

use crate::commands;

/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;

/// What a command was told.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) config: PathBuf,
    pub(crate) snapshot: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) identity: Option<PathBuf>,
    pub(crate) unseal_keys: Option<PathBuf>,
    /// `-acknowledge`, `-dry-run`, `-force`, `-all`: each command has one at most.
    pub(crate) yes: bool,
}

/// Commands, what they do, and their flags.
const COMMANDS: [(&str, &str, &[&str]); 7] = [
    ("run", "take one snapshot now", &["acknowledge"]),
    ("daemon", "take snapshots by the schedule, and serve metrics", &[]),
    ("list", "show all stored snapshots", &[]),
    ("verify", "read stored snapshots whole", &["snapshot", "from", "identity", "all"]),
    ("prune", "remove what no retention rule keeps", &["dry-run"]),
    ("restore", "bring a cluster back", &["snapshot", "from", "to", "identity", "unseal-keys", "force"]),
    ("drill", "rehearse a restore on a throw-away server", &["snapshot", "from", "identity", "unseal-keys"]),
];

pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let args = with_double_dashes(args);
    match command().try_get_matches_from(args) {
        Ok(matches) => {
            let (name, matches) = matches.subcommand().expect("clap demands one");
            commands::run(name, flags(matches))
        }
        Err(error) => {
            // Asking for help is no error, and goes to stdout. A closed pipe is nobody's problem.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

fn command() -> Command {
    let tool = Command::new("vault-snapshot")
        .about("Snapshots of Vault and OpenBao that can be restored")
        .version(env!("CARGO_PKG_VERSION"))
        .no_binary_name(true)
        .subcommand_required(true)
        .arg_required_else_help(true);
    COMMANDS.iter().fold(tool, |tool, (name, about, flags)| {
        let command = Command::new(*name).about(*about).arg(flag("config"));
        tool.subcommand(flags.iter().fold(command, |command, name| command.arg(flag(name))))
    })
}

fn flag(name: &'static str) -> Arg {
    let arg = Arg::new(name).long(name);
    let (value, help) = match name {
        "config" => ("FILE", "The configuration file [default: vault-snapshot.yaml]"),
        "snapshot" => ("NAME", "A stored snapshot, or the path of a file [default: the newest verified one]"),
        "from" => ("DESTINATION", "The destination to read from [default: all]"),
        "to" => ("ADDRESS", "The node to restore into [default: the first of vault.addresses]"),
        "identity" => ("FILE", "The private key of age, as age-keygen wrote it"),
        "unseal-keys" => ("FILE", "The unseal keys of the saved cluster, one a line; `-` for standard input"),
        "acknowledge" => ("", "Accept, this once, that the raft index went back"),
        "dry-run" => ("", "Only say what would be removed, and why the rest stays"),
        "force" => ("", "Overwrite a cluster that is not empty"),
        "all" => ("", "All snapshots, not only the newest"),
        _ => ("", ""),
    };
    if value.is_empty() {
        return arg.action(ArgAction::SetTrue).help(help);
    }
    let arg = arg.value_name(value).help(help);
    if value == "FILE" { arg.value_parser(value_parser!(PathBuf)) } else { arg }
}

fn flags(matches: &ArgMatches) -> Flags {
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let path = |name: &str| matches.try_get_one::<PathBuf>(name).ok().flatten().cloned();
    let is_set = |name: &&str| matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
    Flags {
        config: path("config").unwrap_or_else(|| "vault-snapshot.yaml".into()),
        snapshot: text("snapshot"),
        from: text("from"),
        to: text("to"),
        identity: path("identity"),
        unseal_keys: path("unseal-keys"),
        yes: ["acknowledge", "dry-run", "force", "all"].iter().any(is_set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, clap::Error> {
        let args = with_double_dashes(line.split(' ').map(Into::into).collect());
        let matches = command().try_get_matches_from(args)?;
        Ok(flags(matches.subcommand().expect("there is one").1))
    }

    #[test]
    fn a_flag_is_written_in_four_ways() {
        for line in ["run -config x.yaml", "run -config=x.yaml", "run --config x.yaml", "run --config=x.yaml"]
        {
            assert_eq!(parse(line).unwrap().config, PathBuf::from("x.yaml"), "{line}");
        }
        assert_eq!(parse("daemon").unwrap().config, PathBuf::from("vault-snapshot.yaml"));
    }

    #[test]
    fn every_command_takes_its_own_flags_only() {
        command().debug_assert();
        assert!(parse("prune -dry-run").unwrap().yes && !parse("prune").unwrap().yes);
        let restore =
            parse("restore -from disk -to http://h:1 -unseal-keys - -identity k -snapshot n -force").unwrap();
        assert!(
            restore.yes && restore.from.as_deref() == Some("disk") && restore.unseal_keys == Some("-".into())
        );
        for bad in ["prune -force", "run -dry-run", "list x", "nothing", "restore -token x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
