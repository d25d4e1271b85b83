//! What both forms of the unsealer's configuration say in the same way: how to speak TLS, how to log in, where shares
//! are. Shares that stand in a configuration are counted here and read again when they are needed: nobody keeps them.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use config::yaml::{self, Section, scalar};
use runtime::Chance;
use vault::{Credential, Identity, Login, Roots, Secret, Session, Timeouts, TlsOptions, Vault, VaultOptions};

use crate::shares::Shares;
use crate::sources::Source;

/// Reads a configuration, JSON or YAML.
///
/// # Errors
/// Where the file or its text cannot be read.
pub fn document(file: &Path) -> Result<Rc<yaml::Node>, String> {
    let mut text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    // JSON may be indented by tabs, YAML may not.
    if text.trim_start().starts_with('{') {
        text = text.replace('\t', " ");
    }
    let mut flaws = Vec::new();
    let line = |flaw: &yaml::Flaw| format!("line {}: {}", flaw.position.line, flaw.message);
    let root = yaml::parse(&text, &mut flaws).map_err(|flaw| line(&flaw))?;
    match (root, flaws.first()) {
        (_, Some(flaw)) => Err(line(flaw)),
        (Some(root), None) => Ok(root),
        (None, None) => Err(format!("{} is empty", file.display())),
    }
}

/// Reads the shares of a configuration again: they are not kept.
pub(crate) fn inline_shares(file: &Path, place: &str) -> Result<Vec<Secret>, String> {
    let mut node = document(file)?;
    for step in place.split(['.', '[']) {
        let next = match &node.kind {
            yaml::Kind::Map(entries) => {
                entries.iter().find(|entry| entry.key == step).map(|entry| entry.value.clone())
            }
            yaml::Kind::List(items) => {
                step.trim_end_matches(']').parse::<usize>().ok().and_then(|i| items.get(i).cloned())
            }
            yaml::Kind::Scalar { .. } => None,
        };
        node = next.ok_or("it is gone from the configuration since the start; SIGHUP reads it anew")?;
    }
    match &node.kind {
        yaml::Kind::List(items) => {
            Ok(items.iter().filter_map(|item| scalar(item)).map(Secret::from).collect())
        }
        _ => Err("it is no list any more".to_owned()),
    }
}

/// The section `tls`. What is dangerous in it gives a warning.
pub fn tls(section: &Section<'_>, warnings: &mut Vec<String>) -> TlsOptions {
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
pub fn inline(section: &Section<'_>, key: &'static str, file: &Path) -> Option<Source> {
    let texts = section.texts(key)?;
    let mut shares = Shares::default();
    texts.into_iter().for_each(|text| shares.add(&Secret::from(text)));
    if shares.repeated > 0 {
        section.refuse(key, "the same share stands there twice");
    }
    Some(Source::Inline { file: file.to_owned(), place: section.path_of(key) })
}

/// `unseal_key_source`: `type: env` or `type: exec`.
pub fn typed_source(source: &Section<'_>) -> Option<Source> {
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
    match scalar(node) {
        Some(text) => Some(vec!["/bin/sh".into(), "-c".into(), text]),
        None => section.texts(key),
    }
}

/// An item of `key_sources`: exactly one of its keys.
pub fn key_source(item: &Section<'_>, file: &Path) -> Option<Source> {
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
