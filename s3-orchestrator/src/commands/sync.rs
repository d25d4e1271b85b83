//! `sync`: objects that lie on a backend since before become objects of a bucket, where they lie.
//!
//! The process that serves does it, for it owns the catalog and knows what may be spent of the limits; this asks for it
//! and shows how far it has come. Stopping this stops nothing; asked for again, it goes on where it was.

use std::path::PathBuf;
use std::process::ExitCode;

use admin::wire::SyncRun;
use admin::{AdminClient, ClientError};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use http::Method;
use serde_json::json;

use super::admin::{LOOK_EVERY, client};
use crate::cli::fail;

/// Its flags.
pub(crate) fn command(base: Command) -> Command {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    base.arg(
        flag("config", "FILE", "Where address and token of the process come from [default: config.yaml]")
            .value_parser(value_parser!(PathBuf)),
    )
    .arg(flag("backend", "NAME", "The backend that they lie on").required(true))
    .arg(
        flag("bucket", "NAME", "The bucket that they come to be in; their paths are their keys")
            .required(true),
    )
    .arg(flag("prefix", "TEXT", "What their paths begin with [default: nothing]"))
    .arg(
        Arg::new("dry-run")
            .long("dry-run")
            .num_args(0)
            .action(ArgAction::SetTrue)
            .help("Only look: how many, how large, and how many requests it would take"),
    )
    .arg(flag("addr", "URL", "Where the process listens; or S3O_ADMIN_ADDR"))
    .arg(flag("token", "TOKEN", "ui.admin_token of the process; or S3O_ADMIN_TOKEN"))
    .arg(flag("ca", "FILE", "Authorities to believe over https, in PEM").value_parser(value_parser!(PathBuf)))
}

/// Asks for it, and follows it to its end.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    let client = match client(flags) {
        Ok(client) => client,
        Err(message) => return fail(&message),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(follow(&client, flags)) {
        Ok(done) => {
            let text = serde_json::to_string_pretty(&json!(done));
            println!("{}", text.expect("an answer that was JSON is JSON"));
            if done.status == "ok" && done.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => fail(&error),
    }
}

async fn follow(client: &AdminClient, flags: &ArgMatches) -> Result<SyncRun, ClientError> {
    let mut query = Vec::new();
    for name in ["backend", "bucket", "prefix"] {
        query.extend(flags.get_one::<String>(name).map(|value| (name, value.as_str())));
    }
    if flags.get_flag("dry-run") {
        query.push(("dry_run", "true"));
    }
    let mut now: SyncRun = client.ask(Method::POST, "sync", &query, Bytes::new()).await?;
    eprintln!("this goes on whether or not anybody waits for it");
    let mut shown = String::new();
    while now.status == "running" {
        runtime::sleep(LOOK_EVERY).await;
        now = client.ask(Method::GET, "sync", &[], Bytes::new()).await?;
        let trouble = now.error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
        let line = format!(
            "{} listed, {} imported, {} skipped, {} failed{trouble}",
            now.listed, now.imported, now.skipped, now.failed
        );
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
    }
    Ok(now)
}
