//! `admin`: asks a running process, over its admin API.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use admin::wire::{Triggered, Worker};
use admin::{AdminClient, ClientError, Place};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use config::Config;
use http::Method;
use serde_json::{Value, json};

use crate::cli::fail;

/// Where the process listens, and the token, where no flag says so.
const ADDR_VARIABLE: &str = "S3O_ADMIN_ADDR";
const TOKEN_VARIABLE: &str = "S3O_ADMIN_TOKEN";
/// How often a worker is looked at that is followed.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One question: a method, a route, and what goes with it.
struct Question {
    method: Method,
    route: String,
    query: Vec<(&'static str, String)>,
    body: Bytes,
    /// Whether the answer may be that workers go on.
    follows: bool,
    /// Whether what is shown first is confirmed at once.
    confirms: bool,
}

impl Question {
    fn new(method: Method, route: impl Into<String>) -> Self {
        Self {
            method,
            route: route.into(),
            query: Vec::new(),
            body: Bytes::new(),
            follows: false,
            confirms: false,
        }
    }

    fn get(route: impl Into<String>) -> Self {
        Self::new(Method::GET, route)
    }

    fn trigger(route: &str, flags: &ArgMatches) -> Self {
        let question = Self { follows: true, ..Self::new(Method::POST, route) };
        let backend = flags.try_get_one::<String>("backend").ok().flatten();
        question.with("backend", backend.cloned())
    }

    fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }
}

/// The flags and commands of `admin`.
pub(crate) fn command(base: Command) -> Command {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).global(true).help(help)
    };
    let config =
        flag("config", "FILE", "Where address and token come from, unless named [default: config.yaml]");
    let backend = || Arg::new("backend").required(true).value_name("NAME");
    let one_backend = || Arg::new("backend").long("backend").value_name("NAME").help("This backend alone");
    base.subcommand_required(true)
        .disable_help_subcommand(true)
        .arg(config.value_parser(value_parser!(PathBuf)))
        .arg(flag("addr", "URL", "Where the process listens, as http://127.0.0.1:9000; or S3O_ADMIN_ADDR"))
        .arg(flag(
            "token",
            "TOKEN",
            "ui.admin_token of the process; or S3O_ADMIN_TOKEN, which nobody sees in `ps`",
        ))
        .arg(
            flag("ca", "FILE", "Authorities to believe over https, in PEM")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(flag("json", "", "One line, for programs").num_args(0).action(ArgAction::SetTrue))
        .subcommand(Command::new("status").about("How the backends are doing"))
        .subcommand(
            Command::new("object-locations")
                .about("Where an object lies")
                .arg(Arg::new("key").long("key").value_name("BUCKET/KEY").required(true)),
        )
        .subcommand(Command::new("cleanup-queue").about("What waits to be deleted"))
        .subcommand(Command::new("workers").about("What works in the background, and how it goes"))
        .subcommand(
            Command::new("log-level")
                .about("How much is logged; with -set, from now on")
                .arg(Arg::new("set").long("set").value_name("LEVEL")),
        )
        .subcommand(Command::new("brake").about("Whether deletes are held because workers doomed too much"))
        .subcommand(Command::new("brake-release").about("You have looked: let deletes go on"))
        .subcommand(Command::new("limits").about("Whether limits are closed since a rebuild"))
        .subcommand(Command::new("limits-open").about("You have looked: what is left of them may be spent"))
        .subcommand(Command::new("drain").about("Empty a backend").arg(backend()))
        .subcommand(Command::new("drain-status").about("How far that has come").arg(backend()))
        .subcommand(Command::new("drain-cancel").about("Let a backend take objects again").arg(backend()))
        .subcommand(remove_backend(backend()))
        .subcommand(Command::new("replicate").about("Make replicas that are missing, now"))
        .subcommand(Command::new("replication").about("How many objects have too few or too many replicas"))
        .subcommand(
            Command::new("over-replication")
                .about("How many objects have too many replicas; with --execute, remove those")
                .arg(Arg::new("execute").long("execute").num_args(0).action(ArgAction::SetTrue))
                .arg(batch_size()),
        )
        .subcommand(Command::new("scrub").about("Prove what lies on the backends, now").arg(batch_size()))
        .subcommand(
            Command::new("backfill-checksums")
                .about("Nothing: all that was written or imported has checksums")
                .arg(batch_size()),
        )
        .subcommand(Command::new("usage-flush").about("Write down what was spent of the limits, now"))
        .subcommand(Command::new("rebalance").about("Move replicas as the strategy wants them, now"))
        .subcommand(
            Command::new("reconcile").about("Compare backends with the catalog, now").arg(one_backend()),
        )
        .subcommand(Command::new("lifecycle").about("Remove what has expired, now"))
        .subcommand(quarantine())
}

/// A flag of the Go program. A batch is as large as the configuration says, and one follows the other.
fn batch_size() -> Arg {
    let parser = value_parser!(u32).range(1..=10_000);
    Arg::new("batch-size").long("batch-size").value_name("N").value_parser(parser).hide(true)
}

/// Forgetting a backend, also one that is gone.
fn remove_backend(backend: Arg) -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).num_args(0).action(ArgAction::SetTrue).help(help)
    };
    Command::new("remove-backend")
        .about("Forget a backend that is empty")
        .arg(backend)
        .arg(switch(
            "purge",
            "It is gone for good: give up what waits to be deleted there. Alone, shows what that is",
        ))
        .arg(switch("confirm", "Do it").requires("purge"))
}

/// Strays, and what becomes of them.
fn quarantine() -> Command {
    let id = || Arg::new("id").required(true).value_name("ID");
    let key = Arg::new("key").long("key").value_name("BUCKET/KEY");
    Command::new("quarantine")
        .about("Bytes of ours that no row named")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(Command::new("list").about("Show them"))
        .subcommand(
            Command::new("restore")
                .about("Make one an object again")
                .arg(id())
                .arg(key.help("The key to give it, where it is not the one that its path spells")),
        )
        .subcommand(Command::new("delete").about("Delete one").arg(id()))
}

/// Asks, and prints the answer.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    let (name, own) = flags.subcommand().expect("a command is required");
    let client = match client(own) {
        Ok(client) => client,
        Err(message) => return fail(&message),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let compact = own.get_flag("json");
    match runtime.block_on(ask(&client, question(name, own))) {
        Ok(answer) => {
            let text = if compact { Ok(answer.to_string()) } else { serde_json::to_string_pretty(&answer) };
            println!("{}", text.expect("an answer that was JSON is JSON"));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn question(name: &str, flags: &ArgMatches) -> Question {
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let backend = |rest: &str| format!("backends/{}{rest}", text("backend").expect("it is required"));
    match name {
        "object-locations" => Question::get(name).with("key", text("key")),
        "log-level" => match text("set") {
            None => Question::get(name),
            Some(level) => {
                let body = json!({ "level": level }).to_string().into();
                Question { body, ..Question::new(Method::PUT, name) }
            }
        },
        "over-replication" if !flags.get_flag("execute") => Question::get(name),
        "usage-flush" | "backfill-checksums" => Question::new(Method::POST, name),
        "brake-release" => Question::new(Method::POST, "brake/release"),
        "limits-open" => Question::new(Method::POST, "limits/open"),
        "quarantine" => of_quarantine(flags),
        "drain" => Question::new(Method::POST, backend("/drain")),
        "drain-status" => Question::get(backend("/drain")),
        "drain-cancel" => Question::new(Method::DELETE, backend("/drain")),
        "remove-backend" => {
            let purge = flags.get_flag("purge").then(|| "true".to_owned());
            let confirms = flags.get_flag("confirm");
            Question { confirms, ..Question::new(Method::DELETE, backend("")).with("purge", purge) }
        }
        "replicate" | "over-replication" | "scrub" | "rebalance" | "reconcile" | "lifecycle" => {
            Question::trigger(name, flags)
        }
        _ => Question::get(name),
    }
}

fn of_quarantine(flags: &ArgMatches) -> Question {
    let (name, flags) = flags.subcommand().expect("a command is required");
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    match name {
        "restore" => {
            let route = format!("quarantine/{}/restore", text("id").expect("it is required"));
            Question::new(Method::POST, route).with("key", text("key"))
        }
        "delete" => {
            Question::new(Method::DELETE, format!("quarantine/{}", text("id").expect("it is required")))
        }
        _ => Question::get("quarantine"),
    }
}

async fn ask(client: &AdminClient, question: Question) -> Result<Value, ClientError> {
    let Question { method, route, query, body, follows, confirms } = question;
    let mut query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut answer: Value = client.ask(method.clone(), &route, &query, body.clone()).await?;
    let token = answer["confirm_token"].as_str().map(str::to_owned);
    if let Some(token) = token.as_deref().filter(|_| confirms) {
        query.push(("confirm", token));
        answer = client.ask(method, &route, &query, body).await?;
    }
    let triggered = follows.then(|| serde_json::from_value::<Triggered>(answer.clone()).ok()).flatten();
    match triggered {
        Some(triggered) if triggered.status == "running" => follow(client, &triggered).await,
        _ => Ok(answer),
    }
}

/// Shows how far workers come until they have nothing more to do. Whoever stops this stops nothing but this.
async fn follow(client: &AdminClient, triggered: &Triggered) -> Result<Value, ClientError> {
    eprintln!("this goes on whether or not anybody waits for it");
    let mut shown = String::new();
    loop {
        runtime::sleep(LOOK_EVERY).await;
        let workers: Vec<Worker> = client.ask(Method::GET, "workers", &[], Bytes::new()).await?;
        let mine: Vec<&Worker> =
            workers.iter().filter(|worker| triggered.workers.contains(&worker.name)).collect();
        let line = mine.iter().map(|worker| line(worker)).collect::<Vec<_>>().join("; ");
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
        if mine.iter().all(|worker| worker.activity != "working") {
            return Ok(json!(mine));
        }
    }
}

fn line(worker: &Worker) -> String {
    let Worker { name, activity, done, failed, .. } = worker;
    let progress = worker.progress.as_ref().map_or(String::new(), |progress| {
        let of = progress.total.map_or(String::new(), |total| format!(" of {total}"));
        format!(", {}{of} {}", progress.done, progress.note)
    });
    format!("{name}: {activity}, {done} done, {failed} failed{progress}")
}

/// A client of the process that the flags, the environment or the configuration name.
pub(crate) fn client(flags: &ArgMatches) -> Result<AdminClient, String> {
    let path = flags.get_one::<PathBuf>("config");
    let told = |flag: &str, variable: &str| {
        flags.get_one::<String>(flag).cloned().or_else(|| std::env::var(variable).ok())
    };
    let (address, token) = (told("addr", ADDR_VARIABLE), told("token", TOKEN_VARIABLE));
    // The file is needed for what nothing else says.
    let config = match (&address, &token) {
        (Some(_), Some(_)) => None,
        _ => Some(load(path.map_or(Path::new("config.yaml"), PathBuf::as_path))?),
    };
    let from_config = |read: fn(&Config) -> Option<String>| config.as_ref().and_then(read);
    let token = token.or_else(|| from_config(|c| Some(c.ui.admin_token.as_ref()?.expose().to_owned())));
    let token = token.ok_or("there is no token: set ui.admin_token, S3O_ADMIN_TOKEN or -token")?;
    let address = address.or_else(|| from_config(listens_at));
    let address = address.ok_or("there is no address: set S3O_ADMIN_ADDR or -addr")?;
    let authorities = match flags.get_one::<PathBuf>("ca") {
        Some(path) => Some(std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?),
        None => None,
    };
    let place = Place::parse(&address).map_err(|error| error.to_string())?;
    AdminClient::new(place, &token, authorities.as_deref()).map_err(|error| error.to_string())
}

fn load(path: &Path) -> Result<Config, String> {
    let loaded = Config::load(path, &|name| std::env::var(name).ok());
    loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
}

/// Where a process with this configuration is found from the same machine.
fn listens_at(config: &Config) -> Option<String> {
    let listen = &config.server.listen_addr;
    if listen.port == 0 {
        return None;
    }
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let host = match listen.host.as_str() {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    Some(format!("{scheme}://{host}:{}", listen.port))
}
