//! The part of the configuration that says of one cluster where it is and where its shares are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::Chance;
use vault::{Credential, Identity, Login, Roots, Secret, Session, Timeouts, TlsOptions, Vault, VaultOptions};

use super::{Cluster, Nodes};
use crate::shares::Shares;
use crate::sources::Source;
use ::config::yaml::Section;

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

fn tls(section: &Section<'_>, warnings: &mut Vec<String>) -> TlsOptions {
    let Some(tls) = section.section("tls") else { return TlsOptions::default() };
    let file = |key: &'static str| {
        let path = tls.text(key)?;
        std::fs::read(&path).map_err(|error| tls.refuse(key, format!("{path}: {error}"))).ok()
    };
    let mut options = TlsOptions { server_name: tls.text("server_name"), ..TlsOptions::default() };
    if let Some(pem) = file("ca_cert") {
        options.roots = Roots::Only(pem);
    }
    if tls.flag("skip_verify") {
        warnings.push("tls.skip_verify: whoever stands in between can read the shares".to_owned());
        options.roots = Roots::Anybody;
    }
    match (file("client_cert"), file("client_key")) {
        (Some(certificates), Some(key)) => options.identity = Some(Identity { certificates, key }),
        (None, None) => {}
        _ => tls.refuse("", "client_cert and client_key belong together"),
    }
    tls.finish();
    options
}

/// Shares in the configuration itself: counted and checked here, read again when they are needed.
fn inline(section: &Section<'_>, key: &'static str, file: &Path) -> Option<Source> {
    let texts = section.texts(key)?;
    let mut shares = Shares::default();
    texts.into_iter().for_each(|text| shares.add(&Secret::from(text)));
    if shares.repeated > 0 {
        section.refuse(key, "the same share stands there twice");
    }
    Some(Source::Inline { file: file.to_owned(), place: section.path_of(key) })
}

/// `unseal_key_source`: `type: env` or `type: exec`.
fn typed_source(source: &Section<'_>) -> Option<Source> {
    match source.text("type").as_deref() {
        Some("env") => source.texts("env_vars").map(Source::Env).or_else(|| {
            if !source.has("env_vars") {
                source.refuse("env_vars", "it is missing: name the variables that hold the shares");
            }
            None
        }),
        Some("exec") => Some(Source::Exec {
            command: command(source, "command")?,
            timeout: source.duration("timeout_seconds", Duration::from_secs(30)),
        }),
        _ => {
            source.refuse("type", "expected env or exec");
            None
        }
    }
}

/// A list is run as it is, a text by the shell.
fn command(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let Some(node) = section.node(key) else {
        section.refuse(key, "it is missing");
        return None;
    };
    match ::config::yaml::scalar(node) {
        Some(text) => Some(vec!["/bin/sh".into(), "-c".into(), text]),
        None => section.texts(key),
    }
}

/// An item of `key_sources`: exactly one of its keys.
fn key_source(item: &Section<'_>, file: &Path) -> Option<Source> {
    let kinds = ["inline", "file", "nomad_variable_file", "env", "exec", "credential", "vault"];
    if kinds.into_iter().filter(|key| item.has(key)).count() != 1 {
        item.refuse("", format!("give exactly one of {}", kinds.join(", ")));
    }
    if item.has("inline") {
        return inline(item, "inline", file);
    }
    if let Some(path) = item.text("file").or_else(|| item.text("nomad_variable_file")) {
        return Some(Source::File(PathBuf::from(path)));
    }
    if item.has("env") {
        return item.texts("env").map(Source::Env);
    }
    if item.has("exec") {
        let timeout = item.duration("timeout", Duration::from_secs(30));
        return command(item, "exec").map(|command| Source::Exec { command, timeout });
    }
    if let Some(name) = item.text("credential") {
        return Some(Source::Credential(name));
    }
    other_vault(&item.section("vault")?)
}

fn other_vault(section: &Section<'_>) -> Option<Source> {
    let options = VaultOptions {
        address: section.text("address").unwrap_or_default(),
        namespace: section.text("namespace"),
        tls: tls(section, &mut Vec::new()),
        allow_plain_http: section.flag("allow_plain_http"),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(10),
            ..Timeouts::default()
        },
    };
    let vault = Vault::new(options).map_err(|error| section.refuse("address", error.message));
    let mount = section.text("mount").unwrap_or_else(|| "secret".to_owned());
    let path = section.text("path");
    if path.is_none() {
        section.refuse("path", "it is missing: name the secret that holds the shares");
    }
    let fields = section.texts("fields").unwrap_or_default();
    let login = login(section);
    section.finish();
    let session = Box::new(Session::new(vault.ok()?, login?, Chance::from_os()));
    Some(Source::Vault { session, mount, path: path?, fields })
}

fn login(section: &Section<'_>) -> Option<Login> {
    let Some(login) = section.section("login") else {
        section.refuse("login", "it is missing: give token_file, token_env, jwt_file, role_id or cert");
        return None;
    };
    let mount = login.text("mount");
    let mount = |usual: &str| mount.clone().unwrap_or_else(|| usual.to_owned());
    let from_file = |key: &'static str| login.text(key).map(|path| Credential::File(path.into()));
    let (token, jwt) = (from_file("token_file"), from_file("jwt_file"));
    let (token_env, jwt_env) =
        (login.text("token_env").map(Credential::Env), login.text("jwt_env").map(Credential::Env));
    let (role, role_id) = (login.text("role").unwrap_or_default(), login.text("role_id"));
    let (secret_id, cert) = (from_file("secret_id_file"), login.flag("cert"));
    login.finish();
    if let Some(token) = token.or(token_env) {
        return Some(Login::Token(token));
    }
    if let Some(jwt) = jwt.or(jwt_env) {
        return Some(Login::Jwt { mount: mount("jwt"), role, jwt });
    }
    if let Some(role_id) = role_id {
        let role_id = Credential::Value(role_id.into());
        return Some(Login::AppRole { mount: mount("approle"), role_id, secret_id });
    }
    if cert {
        return Some(Login::Cert { mount: mount("cert"), name: (!role.is_empty()).then_some(role) });
    }
    login.refuse("", "give token_file, token_env, jwt_file, jwt_env, role_id or cert");
    None
}
