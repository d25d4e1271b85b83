//! Everything that a command works with.

use std::path::Path;
use std::sync::Arc;

use age::{Identity, Recipient};
use config::snapshot::{Config, Grammars};
use config::{Problem, Problems};
use destination::Destination;
use runtime::{Chance, Clock, Shutdown};
use snapshot::Cron;

use crate::cli::Flags;
use crate::metrics::Metrics;
use crate::trouble::Trouble;

/// How values are written that the configuration only carries.
const GRAMMARS: Grammars = Grammars {
    cron: |text| Cron::parse(text).map(|_| ()),
    recipient: |text| Recipient::parse(text).map(|_| ()).map_err(|error| error.to_string()),
    identity: |text| Identity::parse_file(text).map(|_| ()).map_err(|error| error.to_string()),
};

pub(crate) struct Tool {
    pub(crate) config: Config,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) identities: Vec<Identity>,
    pub(crate) lasting: Lasting,
}

/// What stays when the configuration is read anew.
#[derive(Clone)]
pub(crate) struct Lasting {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) shutdown: Shutdown,
}

impl Lasting {
    pub(crate) fn new() -> Self {
        let (clock, chance) = (Clock::system(), Chance::from_os());
        Self { metrics: Arc::default(), clock, chance, shutdown: Shutdown::new() }
    }
}

/// The configuration that the flags name, and warnings.
pub(crate) fn load(flags: &Flags) -> Result<(Config, Vec<Problem>), Problems> {
    Config::load(&flags.config, &|name| std::env::var(name).ok(), GRAMMARS)
}

impl Tool {
    pub(crate) fn new(config: Config, flags: &Flags, lasting: Lasting) -> Result<Self, Trouble> {
        let recipients = config.encryption.recipients.iter().map(|text| Recipient::parse(text));
        let recipients =
            recipients.collect::<Result<_, _>>().map_err(|error| Trouble::lasting(error.to_string()))?;
        lasting.metrics.know(config.destinations.iter().map(|destination| destination.name.as_str()));
        Ok(Self {
            destinations: Destination::all(&config)?,
            recipients,
            identities: identities(&config, flags.identity.as_deref())?,
            config,
            lasting,
        })
    }
}

/// The keys of the configuration, and those in a file that was brought.
fn identities(config: &Config, file: Option<&Path>) -> Result<Vec<Identity>, Trouble> {
    let brought = file.map(|path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| Trouble::lasting(format!("cannot read {}: {error}", path.display())))
    });
    let brought = brought.transpose()?;
    let configured = config.encryption.identities.iter().map(config::Secret::expose);
    let parsed = configured.chain(brought.as_deref()).map(Identity::parse_file);
    let parsed = parsed.collect::<Result<Vec<_>, _>>();
    Ok(parsed.map_err(|error| Trouble::lasting(format!("the identity {error}")))?.concat())
}
