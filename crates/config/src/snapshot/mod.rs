//! The configuration of `vault-snapshot`: a file of its own, read by the same rules.

mod destination;
mod vault;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document;
use crate::keys::KeyRow;
use crate::net::{HostPort, HttpUrl};
use crate::report::{Place, Problem, Problems, Report};
use crate::secret::Secret;
use crate::section::{Section, empty, nested, none, or, required, section};
use crate::sections::{LogFormat, LogLevel};

pub use destination::{Destination, DirectoryTarget, Retention, S3Target, Target, TargetType};
pub use vault::{Auth, AuthMethod, Tls, Vault};

section! {
    /// What `vault-snapshot` does, and with what.
    pub struct Config {
        /// First part of the name of every snapshot: lower-case letters, digits, `_` and `.`.
        pub name: String = or("vault"),
        /// The least that is logged: debug, info, warn or error.
        pub log_level: LogLevel = or(LogLevel::Info),
        /// Text on a terminal, JSON elsewhere.
        pub log_format: LogFormat = or(LogFormat::Auto),
        /// Leave memory unlocked, where there is no swap that tokens could reach.
        pub disable_mlock: bool = or(false),
        /// The Vault or OpenBao cluster.
        pub vault: Vault = nested(),
        /// Where snapshots go: at least one.
        pub destinations: Vec<Destination> = required(),
        /// Encryption before a byte leaves the machine.
        pub encryption: Encryption = nested(),
        /// What `prune` keeps, where a destination does not say it for itself. Nothing written: everything.
        pub retention: Retention = nested(),
        /// When the daemon takes snapshots.
        pub schedule: Schedule = nested(),
        /// When a snapshot is believed.
        pub checks: Checks = nested(),
        /// Numbers for Prometheus.
        pub metrics: Metrics = nested(),
        /// The rehearsal of a restore.
        pub drill: Drill = nested(),
    }
}

section! {
    /// Encryption before a byte leaves the machine, in the format of `age`.
    pub struct Encryption {
        /// Public keys (`age1...`), each of which can open every snapshot. None: snapshots are stored as they are.
        pub recipients: Vec<String> = empty(),
        /// Private keys (`AGE-SECRET-KEY-1...`) for verify, restore and drill. Taking snapshots needs none: keep them
        /// elsewhere, or bring them with `-identity FILE`.
        pub identities: Vec<Secret> = empty(),
    }
}

section! {
    /// When the daemon takes snapshots: by cron expressions, or by an interval.
    pub struct Schedule {
        /// Five fields (minute, hour, day, month, weekday) in UTC, or a word such as `@daily`. Several are united.
        pub cron: Vec<String> = empty(),
        /// Pause from the beginning of one run to that of the next.
        pub interval: Option<Duration> = none(),
        /// A random delay up to this long before each run, so that many daemons do not start at once.
        pub jitter: Duration = or(Duration::ZERO),
    }
}

section! {
    /// When a snapshot is believed.
    pub struct Checks {
        /// How often a snapshot is asked for anew within one run, after a lost leader or a broken stream.
        pub attempts: u32 = or(5_u32),
        /// An alarm is given for a snapshot smaller than this share of the one before. 0 gives none.
        pub size_drop: f64 = or(0.5),
        /// How long one destination may take no byte before the others go on without it, and how long Vault may give
        /// none before it is asked anew.
        pub stall: Duration = or(Duration::from_secs(60)),
        /// What is half done at a destination and older than this belongs to a run that died, and is removed.
        pub leftovers_after: Duration = or(Duration::from_secs(24 * 3600)),
    }
}

section! {
    /// Numbers for Prometheus.
    pub struct Metrics {
        /// Where the daemon serves `/metrics` and `/health`, as `host:port`.
        pub listen: Option<HostPort> = none(),
        /// A Pushgateway that `run` sends its numbers to, such as `http://pushgateway:9091`.
        pub pushgateway: Option<HttpUrl> = none(),
        /// The job that they are filed under there.
        pub job: String = or("vault_snapshot"),
    }
}

section! {
    /// The rehearsal of a restore, on a server of this machine that is thrown away.
    pub struct Drill {
        /// The server's program, found by PATH where it is a bare name: `bao` or `vault`.
        pub binary: PathBuf = or("bao"),
        /// The unseal keys of the cluster that was saved, as many as it asks for.
        pub unseal_keys: Vec<Secret> = empty(),
        /// A token of that cluster, for reading canaries. Absent: a root token is made out of the unseal keys,
        /// valid nowhere but in the rehearsal.
        pub token: Option<Secret> = none(),
        /// Paths that must be readable in the restored server, such as `secret/data/canary`.
        pub canaries: Vec<String> = empty(),
    }
}

/// The grammars of values that others than this crate know: each says what is wrong with a text.
#[derive(Debug, Clone, Copy)]
pub struct Grammars {
    /// A cron expression.
    pub cron: fn(&str) -> Result<(), String>,
    /// A public key.
    pub recipient: fn(&str) -> Result<(), String>,
    /// A private key. What it says must not repeat it.
    pub identity: fn(&str) -> Result<(), String>,
}

impl Config {
    /// Reads a file. `env` looks up environment variables. Gives warnings besides.
    pub fn load(
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
        grammars: Grammars,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let (text, file) = document::text_of(path)?;
        Self::parse(&text, &file, env, grammars)
    }

    /// Reads the text of a file that is called `file` in messages.
    pub fn parse(
        text: &str,
        file: &str,
        env: &dyn Fn(&str) -> Option<String>,
        grammars: Grammars,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        document::parse(text, file, env, keys, |config: Self, report: &Report<'_>| {
            config.check(&report.root(), grammars);
            config
        })
    }

    /// What `prune` keeps at a destination.
    #[must_use]
    pub fn retention_of<'a>(&'a self, destination: &'a Destination) -> &'a Retention {
        destination.retention.as_ref().unwrap_or(&self.retention)
    }

    fn check(&self, at: &Place<'_>, grammars: Grammars) {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(legal) || self.name.starts_with('.') {
            let hint = "a dash would not be told from those between the parts of a snapshot's name";
            at.key("name").refuse_with("must be lower-case letters, digits, `_` and `.`", hint);
        }
        self.vault.check(&at.key("vault"));
        Destination::check_all(&self.destinations, &at.key("destinations"));
        let encryption = at.key("encryption");
        let identities = self.encryption.identities.iter().map(Secret::expose);
        judge(
            self.encryption.recipients.iter().map(String::as_str),
            &encryption.key("recipients"),
            grammars.recipient,
        );
        judge(identities, &encryption.key("identities"), grammars.identity);
        self.schedule.check(&at.key("schedule"), grammars);
        let checks = at.key("checks");
        checks.key("attempts").at_least(self.checks.attempts, 1);
        checks.key("size_drop").share(self.checks.size_drop);
        checks.key("stall").above_zero(self.checks.stall);
        checks.key("leftovers_after").above_zero(self.checks.leftovers_after);
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.metrics.job.is_empty() || !self.metrics.job.chars().all(legal) {
            at.key("metrics").key("job").refuse("must be letters, digits, `_`, `-` and `.`");
        }
    }
}

impl Schedule {
    fn check(&self, at: &Place<'_>, grammars: Grammars) {
        judge(self.cron.iter().map(String::as_str), &at.key("cron"), grammars.cron);
        if let Some(interval) = self.interval {
            at.key("interval").above_zero(interval);
            if !self.cron.is_empty() {
                at.key("interval").refuse_with("does not go together with cron", "remove one of them");
            }
        }
    }
}

/// Refuses each item that its grammar does not accept.
fn judge<'a>(items: impl Iterator<Item = &'a str>, at: &Place<'_>, grammar: fn(&str) -> Result<(), String>) {
    for (index, item) in items.enumerate() {
        if let Err(message) = grammar(item) {
            at.item(index).refuse(message);
        }
    }
}

/// All keys, in the order of their declaration.
fn keys() -> Vec<KeyRow> {
    let mut rows = Vec::new();
    Config::describe_keys("", &mut rows);
    rows
}

/// The table of all keys as Markdown.
#[must_use]
pub fn to_markdown() -> String {
    let mut out = String::from("| key | type | default | meaning |\n|---|---|---|---|\n");
    for row in keys() {
        let cells = [format!("`{}`", row.key), row.kind, row.default, row.meaning];
        out.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    out
}
