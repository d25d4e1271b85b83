//! The command line: which command, with which flags.
//!
//! Flags may be written as Go programs take them: one dash or two, a value behind `=` or in the next word.
//! Without a command the server starts; a word that is no command never does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use config::with_double_dashes;
use types::BackendName;

use crate::commands::{admin, demo, rebuild, serve, sync, validate, version};

/// Commands and what they do.
const COMMANDS: [(&str, &str); 8] = [
    ("serve", "start the server; the default without a command"),
    ("validate", "check a configuration and show what is in force"),
    ("admin", "ask a running process, or tell it what to do"),
    ("version", "print the version"),
    ("demo", "start a server with three directories as backends; needs no configuration"),
    ("sync", "make objects of what lies on a backend since before, where it lies"),
    ("rebuild", "make a lost catalog anew from what lies on the backends"),
    ("help", "print this"),
];
/// Commands of the Go program that this release lacks.
const NOT_BUILT: [&str; 1] = ["init"];
/// The command line itself is wrong.
const USAGE: u8 = 2;

/// Runs the command that the arguments name.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let args = with_double_dashes(args);
    let (name, flags) = match args.split_first() {
        Some((first, rest)) if !first.as_encoded_bytes().starts_with(b"-") => (first.to_string_lossy(), rest),
        _ => ("serve".into(), &args[..]),
    };
    let asks_for_help = args.first().is_some_and(|first| first == "-h" || first == "--help");
    match &*name {
        _ if asks_for_help => print_help(),
        "help" => print_help(),
        "serve" if flags.first().is_some_and(|flag| flag == "--version" || flag == "-V") => version::run(),
        "serve" => with_flags(serve_flags(), flags, |flags| match mode_of(flags) {
            Ok(()) => serve::run(&config_of(flags)),
            Err(message) => fail(&message),
        }),
        "validate" => {
            with_flags(flags_of("validate").arg(config_flag()), flags, |f| validate::run(&config_of(f)))
        }
        "admin" => with_flags(admin::command(flags_of("admin")), flags, admin::run),
        "sync" => with_flags(sync::command(flags_of("sync")), flags, sync::run),
        "version" => with_flags(flags_of("version"), flags, |_| version::run()),
        "demo" => with_flags(demo_flags(), flags, |flags| {
            let dir = flags.get_one::<PathBuf>("dir").cloned().unwrap_or_else(|| ".demo".into());
            demo::run(&dir, flags.get_one::<u16>("port").copied().unwrap_or(9000))
        }),
        "rebuild" => with_flags(rebuild_flags(), flags, |flags| match rebuild_of(flags) {
            Ok(asked) => rebuild::run(&config_of(flags), &asked),
            Err(message) => fail(&message),
        }),
        unknown => refuse(unknown),
    }
}

/// Prints one line about a fatal error and gives the exit code that goes with it.
pub(crate) fn fail(message: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

fn with_flags(command: Command, flags: &[OsString], run: impl FnOnce(&ArgMatches) -> ExitCode) -> ExitCode {
    match command.no_binary_name(true).try_get_matches_from(flags) {
        Ok(matches) => run(&matches),
        Err(error) => {
            // Asking for help is no error, and goes to stdout. A closed pipe is nobody's problem.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

fn flags_of(name: &'static str) -> Command {
    let about = COMMANDS.iter().find(|(command, _)| *command == name).map_or("", |(_, about)| about);
    Command::new(name).bin_name(format!("s3-orchestrator {name}")).about(about)
}

fn config_flag() -> Arg {
    let parser = value_parser!(PathBuf);
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(parser)
        .help("The configuration file [default: config.yaml]. `-config FILE` and `-config=FILE` are the same")
}

fn serve_flags() -> Command {
    let mode = Arg::new("mode").long("mode").value_name("MODE").help("`all`, the one mode of this release");
    flags_of("serve").arg(config_flag()).arg(mode)
}

fn demo_flags() -> Command {
    let dir = Arg::new("dir").long("dir").value_name("DIR").value_parser(value_parser!(PathBuf));
    let port = Arg::new("port").long("port").value_name("PORT").value_parser(value_parser!(u16));
    flags_of("demo")
        .arg(dir.help("Where everything lies, kept from run to run [default: .demo]"))
        .arg(port.help("The port on 127.0.0.1 [default: 9000]"))
}

fn rebuild_flags() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let deployment = Arg::new("deployment").long("deployment").value_name("ID");
    let without = Arg::new("without").long("without").value_name("BACKEND").action(ArgAction::Append);
    flags_of("rebuild")
        .arg(config_flag())
        .arg(switch("execute", "Do it. Without this flag it only looks"))
        .arg(switch(
            "read",
            "Read what would be applied and say what was decided before. It costs what a rebuild costs",
        ))
        .arg(deployment.help("Whose catalog, where the backends belong to several deployments"))
        .arg(without.help("Leave this backend out. What lies only there is missing then; may be given again"))
        .arg(switch(
            "accept-gaps",
            "Go on where segments are missing or damaged: changes of that time are lost",
        ))
        .arg(switch("confirm-limits", "What is left of this period's limits may be spent"))
}

fn rebuild_of(flags: &ArgMatches) -> Result<rebuild::Flags, String> {
    let deployment = flags.get_one::<String>("deployment").map(|text| text.parse()).transpose();
    let without = flags.get_many::<String>("without").into_iter().flatten();
    let choices = engine::Choices {
        deployment: deployment.map_err(|error| format!("-deployment: {error}"))?,
        without: without
            .map(|name| BackendName::parse(name).map_err(|error| format!("-without: {error}")))
            .collect::<Result<_, _>>()?,
        accept_gaps: flags.get_flag("accept-gaps"),
    };
    Ok(rebuild::Flags {
        execute: flags.get_flag("execute"),
        read: flags.get_flag("read"),
        confirm_limits: flags.get_flag("confirm-limits"),
        choices,
    })
}

fn config_of(flags: &ArgMatches) -> PathBuf {
    flags.get_one::<PathBuf>("config").cloned().unwrap_or_else(|| "config.yaml".into())
}

fn mode_of(flags: &ArgMatches) -> Result<(), String> {
    match flags.get_one::<String>("mode").map(String::as_str) {
        None | Some("all") => Ok(()),
        Some(mode @ ("api" | "worker")) => Err(format!(
            "-mode {mode} is not built into this release; `all`, the default, serves and works in one process"
        )),
        Some(mode) => Err(format!("-mode {mode} is unknown; `all` is the one mode of this release")),
    }
}

fn refuse(name: &str) -> ExitCode {
    if NOT_BUILT.contains(&name) {
        eprintln!("error: the command `{name}` is not built into this release");
    } else {
        eprintln!("error: there is no command `{name}`");
    }
    let names: Vec<_> = COMMANDS.iter().map(|(name, _)| *name).collect();
    eprintln!("commands: {}; `s3-orchestrator help` says more", names.join(", "));
    ExitCode::from(USAGE)
}

fn print_help() -> ExitCode {
    println!("s3-orchestrator: one S3 endpoint over many storage backends\n");
    println!("usage: s3-orchestrator [COMMAND] [FLAGS]\n");
    for (name, about) in COMMANDS {
        println!("  {name:<10} {about}");
    }
    println!("\n`s3-orchestrator COMMAND -h` lists the flags of a command.");
    println!("`s3-orchestrator -config FILE` is `s3-orchestrator serve --config FILE`.");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> PathBuf {
        let args = with_double_dashes(args.iter().map(Into::into).collect());
        config_of(&serve_flags().no_binary_name(true).try_get_matches_from(args).unwrap())
    }

    #[test]
    fn a_flag_is_written_in_four_ways() {
        for args in
            [&["-config", "x.yaml"][..], &["-config=x.yaml"], &["--config", "x.yaml"], &["--config=x.yaml"]]
        {
            assert_eq!(config(args), PathBuf::from("x.yaml"), "{args:?}");
        }
        assert_eq!(config(&[]), PathBuf::from("config.yaml"));
    }

    #[test]
    fn letters_and_what_follows_the_end_of_flags_stay() {
        let args = ["-h", "-", "--config", "--", "-config"].map(OsString::from).to_vec();
        assert_eq!(with_double_dashes(args.clone()), args);
    }
}
