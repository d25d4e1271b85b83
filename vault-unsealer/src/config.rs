//! The configuration: JSON as the tool of the same name reads it, or YAML with more.

mod clusters;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::yaml::{Problems, Section};
use companion::{Source, check_readers, settings};
use vault::VaultOptions;

/// Everything that is configured. It holds no share.
#[derive(Debug)]
pub(crate) struct Config {
    pub log_level: &'static str,
    pub log_json: Option<bool>,
    /// Where metrics and health are served.
    pub listen: Option<std::net::SocketAddr>,
    pub lock_memory: bool,
    pub allow_readable_files: bool,
    /// While this file is there, no share is sent.
    pub hold_file: Option<PathBuf>,
    pub webhooks: Vec<String>,
    /// For how long alarms are gathered before they are sent.
    pub alarm_batch: Duration,
    pub clusters: Vec<Cluster>,
    /// What is allowed and yet worth a word.
    pub warnings: Vec<String>,
}

/// One cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub name: String,
    pub nodes: Nodes,
    /// How to speak to each; the address is still empty.
    pub options: VaultOptions,
    pub probe_interval: Duration,
    pub max_interval: Duration,
    /// The id that its nodes show once they are unsealed.
    pub cluster_id: Option<String>,
    /// How long an attempt may stand still before it is thrown away.
    pub reset_stale_after: Option<Duration>,
    pub unseals_max: usize,
    pub unseals_window: Duration,
    pub sets_max: usize,
    pub sources: Vec<Source>,
}

/// Where its nodes are.
#[derive(Debug)]
pub(crate) enum Nodes {
    /// At these addresses.
    List(Vec<String>),
    /// At every address of this name.
    Name { scheme: String, host: String, port: u16 },
    /// Where the SRV records of this name say.
    Srv { scheme: String, name: String },
}

/// What the command line adds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrides {
    pub allow_readable_files: bool,
}

/// Reads a configuration. Its problems come all at once, each with its line.
pub(crate) fn load(file: &Path, overrides: Overrides) -> Result<Config, Vec<String>> {
    let problems = Problems::default();
    let root = settings::document(file).map_err(|why| vec![why])?;
    let config = Section::new(&root, "", &problems).map(|top| top_level(&top, file, overrides));
    let found = problems.into_inner();
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(found),
    }
}

fn top_level(top: &Section<'_>, file: &Path, overrides: Overrides) -> Config {
    let mut config = Config {
        log_level: top.parsed("log_level", "debug, info, warn or error", level).unwrap_or("info"),
        log_json: top.parsed("log_format", "text, json or auto", format).flatten(),
        listen: top.parsed("listen", "an address like 127.0.0.1:8250", |text| text.parse().ok()),
        lock_memory: !top.flag("disable_mlock"),
        allow_readable_files: top.flag("allow_readable_files") || overrides.allow_readable_files,
        hold_file: top.text("hold_file").map(PathBuf::from),
        webhooks: Vec::new(),
        alarm_batch: Duration::from_secs(30),
        clusters: Vec::new(),
        warnings: Vec::new(),
    };
    if let Some(alarms) = top.section("alarms") {
        config.webhooks = alarms.texts("webhooks").unwrap_or_default();
        for url in &config.webhooks {
            if let Err(why) = companion::check_url(url) {
                alarms.refuse("webhooks", format!("a webhook cannot be used: {why}"));
            }
        }
        config.alarm_batch = alarms.duration("batch", config.alarm_batch);
        alarms.finish();
    }
    if top.has("clusters") {
        let sections = top.sections("clusters");
        config.clusters =
            sections.iter().map(|section| clusters::read(section, file, &mut config.warnings)).collect();
        let mut names: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            top.refuse("clusters", "two clusters have the same name");
        }
    } else {
        config.clusters.push(clusters::read_flat(top, file, &mut config.warnings));
    }
    top.finish();
    let has_inline = config
        .clusters
        .iter()
        .flat_map(|cluster| &cluster.sources)
        .any(|source| matches!(source, Source::Inline { .. }));
    if has_inline && let Err(why) = check_readers(file, config.allow_readable_files) {
        top.refuse("", format!("{} holds shares, and {why}", file.display()));
    }
    config
}

fn level(text: &str) -> Option<&'static str> {
    let known = [
        ("trace", "debug"),
        ("debug", "debug"),
        ("info", "info"),
        ("warn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
    ];
    known.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
}

fn format(text: &str) -> Option<Option<bool>> {
    match text {
        "text" => Some(Some(false)),
        "json" => Some(Some(true)),
        "auto" => Some(None),
        _ => None,
    }
}
