//! `database`: the catalog.

use std::path::PathBuf;
use std::time::Duration;

use crate::report::Place;
use crate::scalar::choice;
use crate::secret::Secret;
use crate::section::{none, or, section};

choice! {
    /// Which database holds the catalog.
    pub enum Driver ("sqlite or postgres") {
        /// A file of this process's own.
        Sqlite = "sqlite",
        /// A server that several instances share.
        Postgres = "postgres",
    }
}

choice! {
    /// How much TLS is asked of PostgreSQL, in its own words.
    pub enum SslMode ("disable, allow, prefer, require, verify-ca or verify-full") {
        /// Never.
        Disable = "disable",
        /// Where the server insists.
        Allow = "allow",
        /// Where the server offers it.
        Prefer = "prefer",
        /// Always, whoever the server is.
        Require = "require",
        /// Always, and the certificate is verified.
        VerifyCa = "verify-ca",
        /// Always, and the certificate and its name are verified.
        VerifyFull = "verify-full",
    }
}

section! {
    /// The catalog: what lies where.
    pub struct Database {
        /// Host of the PostgreSQL server.
        pub host: Option<String> = none(),
        /// sqlite or postgres; the default is postgres where a host is given, else sqlite.
        pub driver: Driver = or(if host.is_some() { Driver::Postgres } else { Driver::Sqlite }),
        /// File of the SQLite catalog.
        pub path: PathBuf = or("s3-orchestrator.db"),
        /// Port of the PostgreSQL server.
        pub port: u16 = or(5432_u16),
        /// Database on the PostgreSQL server.
        pub database: Option<String> = none(),
        /// User on the PostgreSQL server.
        pub user: Option<String> = none(),
        /// Password of that user; any characters.
        pub password: Option<Secret> = none(),
        /// TLS towards PostgreSQL: disable, allow, prefer, require, verify-ca or verify-full.
        pub ssl_mode: SslMode = or(SslMode::Require),
        /// Most connections to PostgreSQL.
        pub max_conns: u32 = or(50_u32),
        /// Connections to PostgreSQL that are kept open.
        pub min_conns: u32 = or(max_conns.min(10)),
        /// How long a connection to PostgreSQL is used.
        pub max_conn_lifetime: Duration = or(Duration::from_secs(300)),
    }
}

/// Keys that mean something to PostgreSQL alone.
pub(crate) const POSTGRES_KEYS: [&str; 9] = [
    "host",
    "port",
    "database",
    "user",
    "password",
    "ssl_mode",
    "max_conns",
    "min_conns",
    "max_conn_lifetime",
];

impl Database {
    pub(crate) fn check(&self, at: &Place<'_>) {
        if !at.key("driver").is_sound() {
            return;
        }
        match self.driver {
            Driver::Postgres => self.check_postgres(at),
            Driver::Sqlite => self.check_sqlite(at),
        }
    }

    fn check_postgres(&self, at: &Place<'_>) {
        for (name, value) in [("host", &self.host), ("database", &self.database), ("user", &self.user)] {
            if value.as_ref().is_none_or(String::is_empty) {
                at.key(name).refuse("is required for postgres");
            }
        }
        at.key("port").at_least(self.port, 1);
        at.key("max_conns").at_least(self.max_conns, 1);
        at.key("max_conn_lifetime").above_zero(self.max_conn_lifetime);
        if self.min_conns > self.max_conns && at.sound(&["min_conns", "max_conns"]) {
            at.first_set(&["min_conns", "max_conns"]).refuse("min_conns must not be above max_conns");
        }
        if at.key("path").is_set() {
            at.key("path").warn("has no effect with postgres", None);
        }
    }

    fn check_sqlite(&self, at: &Place<'_>) {
        if self.path.as_os_str().is_empty() {
            at.key("path").refuse("must not be empty");
        }
        for key in POSTGRES_KEYS.iter().map(|name| at.key(name)).filter(Place::is_set) {
            key.warn(
                "has no effect with sqlite",
                Some("SQLite runs inside this process, without host or pool"),
            );
        }
    }
}
