//! The command line. Flags may have one dash or two, and their value behind `=` or in the next word.

use std::path::PathBuf;

/// What the program is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Watch and unseal until the end.
    Run,
    /// Unseal once and end.
    Once,
    /// Look whether everything is in place.
    Check,
    Help,
    Version,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub command: Command,
    pub file: PathBuf,
    pub allow_readable_files: bool,
}

pub(crate) const HELP: &str = "\
vault-unsealer: unseals the nodes of Vault and OpenBao clusters

usage: vault-unsealer [check] [FLAGS]

  check                    look at configuration, key sources and nodes; sends no share

  -config FILE             the configuration, JSON or YAML [default: config.json]
  -config-file-path DIR    the folder of the configuration, and
  -config-file NAME        its name in there
  -once                    unseal what is sealed now, and end: 0 where all nodes are open
  -allow-readable-files    take shares from files that others than their owner may read
  -version, -help          flags may have two dashes, and -flag=value is the same as -flag value
";

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut args = args;
    let (mut command, mut allow_readable_files) = (Command::Run, false);
    let (mut file, mut folder, mut name) = (None, None, None);
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            if arg != "check" {
                return Err(format!("there is no command {arg:?}; -help lists what there is"));
            }
            command = Command::Check;
            continue;
        };
        let (flag, value) =
            flag.split_once('=').map_or((flag, None), |(flag, value)| (flag, Some(value.to_owned())));
        let slot = match flag {
            "config" => &mut file,
            "config-file-path" => &mut folder,
            "config-file" => &mut name,
            _ => {
                match (flag, value) {
                    ("once", None) => command = Command::Once,
                    ("allow-readable-files", None) => allow_readable_files = true,
                    ("help" | "h", None) => command = Command::Help,
                    ("version" | "V", None) => command = Command::Version,
                    _ => {
                        return Err(format!(
                            "there is no flag -{flag}, or it has no value; -help lists what there is"
                        ));
                    }
                }
                continue;
            }
        };
        let value = value.or_else(|| args.next()).ok_or_else(|| format!("-{flag} needs a value"))?;
        *slot = Some(PathBuf::from(value));
    }
    if file.is_some() && (folder.is_some() || name.is_some()) {
        return Err("give -config, or -config-file-path and -config-file, not both".to_owned());
    }
    let name = name.unwrap_or_else(|| "config.json".into());
    let file = file.unwrap_or_else(|| folder.map(|folder| folder.join(&name)).unwrap_or(name));
    Ok(Arguments { command, file, allow_readable_files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &str, command: Command, file: &str) {
        let parsed = parse(args.split_whitespace().map(str::to_owned)).unwrap();
        assert_eq!((parsed.command, parsed.file), (command, file.into()), "{args}");
    }

    #[test]
    fn flags_are_read() {
        check("", Command::Run, "config.json");
        check("-config-file-path /etc/unsealer", Command::Run, "/etc/unsealer/config.json");
        check("--config-file-path=/etc/unsealer --config-file u.json", Command::Run, "/etc/unsealer/u.json");
        check("-config-file u.json", Command::Run, "u.json");
        check("check -config x.yaml", Command::Check, "x.yaml");
        check("--once --config=x.yaml", Command::Once, "x.yaml");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for args in ["-what", "run", "-config", "-once=yes", "-config a -config-file b"] {
            assert!(parse(args.split_whitespace().map(str::to_owned)).is_err(), "{args}");
        }
    }
}
