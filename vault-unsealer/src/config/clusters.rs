//! The part of the configuration that says of one cluster where it is and where its shares are.

use std::path::Path;
use std::time::Duration;

use ::config::yaml::Section;
use companion::settings::{inline, key_source, tls, typed_source};
use vault::{Timeouts, Vault, VaultOptions};

use super::{Cluster, Nodes};

/// The form with `clusters`.
pub(super) fn read(section: &Section<'_>, file: &Path, warnings: &mut Vec<String>) -> Cluster {
    let name = section.text("name").unwrap_or_else(|| "default".to_owned());
    let allow_plain_http = section.flag("allow_plain_http");
    let mut cluster = common(section, name, allow_plain_http, warnings);
    cluster.cluster_id = section.text("cluster_id");
    cluster.max_interval = section.duration("max_interval", cluster.max_interval);
    if section.has("reset_stale_after") {
        cluster.reset_stale_after = Some(section.duration("reset_stale_after", Duration::from_secs(600)));
    }
    let whole = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    cluster.sets_max = section.parsed("sets_max", "a number above 0", whole).unwrap_or(cluster.sets_max);
    if let Some(brake) = section.section("brake") {
        cluster.unseals_max =
            brake.parsed("unseals_max", "a number above 0", whole).unwrap_or(cluster.unseals_max);
        cluster.unseals_window = brake.duration("window", cluster.unseals_window);
        brake.finish();
    }
    for source in section.sections("key_sources") {
        cluster.sources.extend(key_source(&source, file));
        source.finish();
    }
    if cluster.sources.is_empty() && !section.has("key_sources") {
        section.refuse("key_sources", "it is missing: say where the shares are");
    }
    section.finish();
    cluster
}

/// The form of the tool of the same name: one cluster, and its keys at the top.
pub(super) fn read_flat(top: &Section<'_>, file: &Path, warnings: &mut Vec<String>) -> Cluster {
    // That form knows no setting for it: an address that says http means it.
    let mut cluster = common(top, "default".to_owned(), true, warnings);
    if let Nodes::List(nodes) = &cluster.nodes
        && let Some(node) = nodes.iter().find(|node| Vault::new(VaultOptions::new(node.as_str())).is_err())
    {
        let why = "is plain http: shares travel in the clear, for anyone on the way to read";
        warnings.push(format!("{node} {why}"));
    }
    cluster.sources.extend(inline(top, "unseal_keys", file));
    if let Some(source) = top.section("unseal_key_source") {
        cluster.sources.extend(typed_source(&source));
        source.finish();
    } else if !top.has("unseal_keys") {
        top.refuse("unseal_keys", "it is missing: give unseal_keys or unseal_key_source");
    }
    cluster
}

fn common(
    section: &Section<'_>,
    name: String,
    allow_plain_http: bool,
    warnings: &mut Vec<String>,
) -> Cluster {
    let timeout = section.duration("timeout", Duration::from_secs(10));
    let tls = tls(section, warnings);
    let options = VaultOptions {
        tls,
        allow_plain_http,
        timeouts: Timeouts { connect: timeout / 2, call: timeout, ..Timeouts::default() },
        ..VaultOptions::new("")
    };
    let probe_interval = section.duration("probe_interval", Duration::from_secs(10));
    Cluster {
        nodes: nodes(section, &options),
        name,
        options,
        probe_interval,
        max_interval: Duration::from_secs(300).max(probe_interval),
        cluster_id: None,
        reset_stale_after: None,
        unseals_max: 5,
        unseals_window: Duration::from_secs(3600),
        sets_max: 20,
        sources: Vec::new(),
    }
}

fn nodes(section: &Section<'_>, options: &VaultOptions) -> Nodes {
    let given = ["nodes", "dns", "srv"].into_iter().filter(|key| section.has(key)).count();
    if given != 1 {
        section.refuse("nodes", "give exactly one of nodes (a list of addresses), dns and srv");
    }
    let scheme = section
        .parsed("scheme", "https or http", |text| matches!(text, "https" | "http").then(|| text.to_owned()));
    let scheme = scheme.unwrap_or_else(|| "https".to_owned());
    if let Some(name) = section.text("srv") {
        return Nodes::Srv { scheme, name };
    }
    let host_port = |text: &str| {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "8200"));
        Some((host.to_owned(), port.parse().ok()?))
    };
    if let Some((host, port)) = section.parsed("dns", "a name, like vault.service.consul:8200", host_port) {
        check_address(section, "dns", &format!("{scheme}://{host}:{port}"), options);
        return Nodes::Name { scheme, host, port };
    }
    let list = section.texts("nodes").unwrap_or_default();
    for node in &list {
        check_address(section, "nodes", node, options);
    }
    let mut distinct: Vec<&str> = list.iter().map(|node| node.trim_end_matches('/')).collect();
    distinct.sort_unstable();
    if distinct.windows(2).any(|pair| pair[0] == pair[1]) {
        section.refuse("nodes", "the same node stands there twice");
    }
    Nodes::List(list)
}

fn check_address(section: &Section<'_>, key: &'static str, address: &str, options: &VaultOptions) {
    if let Err(error) = Vault::new(VaultOptions { address: address.to_owned(), ..options.clone() }) {
        section.refuse(key, error.message);
    }
}
