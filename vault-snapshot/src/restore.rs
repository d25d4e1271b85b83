//! Bringing a cluster back from a snapshot: each step is printed, and nothing is overwritten unasked.

use std::path::Path;
use std::time::Duration;

use destination::{Destination, Held, read_file};
use futures::StreamExt;
use snapshot::{Acknowledged, Checked, Chunks, Line, ReadBack, opened, read_back};
use vault::{Restore, Secret, SnapshotBody, Vault};

use crate::cluster::{self, Cluster};
use crate::tool::Tool;
use crate::trouble::Trouble;

/// How long a server may take for what it usually does in seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For so many looks a server that may stay as it is has to do so.
const CALM_LOOKS: u32 = 20;

/// What a look at a restored server has shown.
enum Seen {
    /// It leads the cluster of this id.
    Active(String),
    /// It was sealed, and took the shares.
    Sealed,
    Neither,
}

/// Where a snapshot is restored from.
pub(crate) enum Source {
    Stored(Destination, Held),
    File(std::path::PathBuf),
}

/// A snapshot that was read whole, and may be trusted.
pub(crate) struct Proved {
    pub(crate) source: Source,
    pub(crate) checked: Checked,
    content_size: u64,
}

impl Source {
    fn is_encrypted(&self) -> bool {
        match self {
            Self::Stored(_, held) => held.name.encrypted,
            Self::File(path) => path.extension().is_some_and(|extension| extension == "age"),
        }
    }

    async fn read(&self) -> Result<Chunks, Trouble> {
        Ok(match self {
            Self::Stored(destination, held) => destination.place.read(&held.name.to_string()).await?,
            Self::File(path) => read_file(path).await?,
        })
    }

    /// As people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stored(_, held) => held.name.to_string(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Prints a step.
pub(crate) fn say(step: &str) {
    println!("{}  {step}", snapshot::print_time(runtime::Clock::system().now()));
}

impl Tool {
    /// The snapshot that is meant: a file of this machine, or one of a destination.
    pub(crate) async fn source(&self, from: Option<&str>, wanted: Option<&str>) -> Result<Source, Trouble> {
        if let Some(path) =
            wanted.map(Path::new).filter(|path| path.is_absolute() || path.components().count() > 1)
        {
            return Ok(Source::File(path.to_owned()));
        }
        let mut failures = Vec::new();
        let mut found: Option<(Destination, Held)> = None;
        for destination in self.chosen(from)? {
            match self.find(&destination, wanted).await {
                // The newest of all; where two have it, the first that is configured.
                Ok(held) if found.as_ref().is_none_or(|(_, best)| best.name.time < held.name.time) => {
                    found = Some((destination, held));
                }
                Ok(_) => {}
                Err(trouble) => failures.push(trouble.message),
            }
        }
        let found = found.map(|(destination, held)| Source::Stored(destination, held));
        found.ok_or_else(|| Trouble::lasting(failures.join("; ")))
    }

    /// Reads the whole snapshot once before anything is touched.
    pub(crate) async fn prove(&self, source: Source) -> Result<Proved, Trouble> {
        say(&format!("reading {} whole", source.name()));
        let ReadBack { inside, .. } =
            read_back(source.read().await?, source.is_encrypted(), &self.identities).await?;
        let (checked, content_size) = inside.ok_or_else(|| {
            Trouble::lasting("the snapshot is encrypted: bring the key with -identity FILE")
        })?;
        say(&format!("it is whole: raft index {}, {content_size} bytes", checked.meta.index));
        Ok(Proved { source, checked, content_size })
    }

    /// Restores into the node at `to`, and unseals it with the shares of the cluster that was saved.
    pub(crate) async fn restore(
        &self,
        proved: Proved,
        to: Option<&str>,
        shares: &[Secret],
        force: bool,
    ) -> Result<(), Trouble> {
        let settings = &self.config.vault;
        let first = || settings.addresses.first().map(|address| address.as_str());
        let address = to.or_else(first).ok_or_else(|| Trouble::lasting("say where to: -to ADDRESS"))?;
        let vault = Vault::new(cluster::options(settings, address, self.config.checks.stall)?)?;
        if !vault.seal_status().await?.initialized {
            let cluster_id = self.bring_back(&vault, &proved, shares).await?;
            return self.acknowledge(&cluster_id, &proved).await;
        }
        if !force {
            return Err(Trouble::lasting(format!(
                "{address} is initialised already: all that it holds would be lost. `-force` does it all the same"
            )));
        }
        say("the cluster is not empty; overwriting it, as -force demands");
        let leader =
            Cluster::new(settings, self.config.checks.stall, self.lasting.chance.clone())?.leader().await?;
        let token = leader.token().await?;
        self.send_to(&leader.vault, &token, &proved).await?;
        let cluster_id = self.open(&leader.vault, shares, false).await?;
        self.acknowledge(&cluster_id, &proved).await
    }

    /// Restores into a server that was never initialised. Gives the id of the cluster.
    pub(crate) async fn bring_back(
        &self,
        vault: &Vault,
        proved: &Proved,
        shares: &[Secret],
    ) -> Result<String, Trouble> {
        // A server keeps the numbers of its own initialisation in memory, and asks for the shares of the restored
        // cluster by them: so they have to be the same.
        let seal = proved.checked.seal.as_ref();
        let seal =
            seal.ok_or_else(|| Trouble::lasting("the snapshot does not say how its cluster is sealed"))?;
        if seal.kind != "shamir" {
            return Err(Trouble::lasting(format!(
                "its cluster is sealed by {}, not by shares: initialise the new one with that seal, and use -force",
                seal.kind
            )));
        }
        let needed = usize::try_from(seal.threshold).unwrap_or(usize::MAX);
        if shares.len() < needed {
            return Err(Trouble::lasting(format!(
                "{} unseal keys are given, {needed} are needed",
                shares.len()
            )));
        }
        say(&format!("initialising {} for the time being", vault.address()));
        let temporary = vault.init(seal.shares, seal.threshold).await?;
        for share in temporary.keys_base64.iter().take(needed) {
            vault.unseal(share).await?;
        }
        self.active(vault).await?;
        self.send_to(vault, &temporary.root_token, proved).await?;
        self.open(vault, shares, true).await
    }

    /// Sends the snapshot. It is proved once more on its way.
    async fn send_to(&self, vault: &Vault, token: &Secret, proved: &Proved) -> Result<(), Trouble> {
        say(&format!("restoring {} bytes into {}", proved.content_size, vault.address()));
        let source = &proved.source;
        let plain = opened(source.read().await?, source.is_encrypted(), &self.identities);
        let plain = plain.map(|chunk| chunk.map_err(Into::into));
        let body = SnapshotBody::with_length(proved.content_size, plain);
        Ok(vault.raft_restore(token, body, Restore::AnyCluster).await?)
    }

    /// Unseals with the old shares as often as the server asks for them, until it leads. Gives the cluster's id.
    ///
    /// A restored server goes on for a moment with the keys that it had, and seals itself when it finds that they
    /// are not those of the snapshot. A `fresh` one always has to; another need not, and is believed after a while.
    async fn open(&self, vault: &Vault, shares: &[Secret], fresh: bool) -> Result<String, Trouble> {
        say("unsealing with the keys of the cluster that was saved");
        let deadline = runtime::instant_now() + PATIENCE;
        let (mut was_sealed, mut calm) = (false, 0);
        while runtime::instant_now() < deadline {
            match self.step(vault, shares).await? {
                Seen::Active(cluster_id) if was_sealed || (!fresh && calm >= CALM_LOOKS) => {
                    say(&format!("the cluster is back: {cluster_id}"));
                    return Ok(cluster_id);
                }
                Seen::Active(_) => calm += 1,
                Seen::Sealed => was_sealed = true,
                Seen::Neither => calm = 0,
            }
            runtime::sleep(LOOK_EVERY).await;
        }
        Err(Trouble::lasting(format!("{} does not become active within {PATIENCE:?}", vault.address())))
    }

    async fn step(&self, vault: &Vault, shares: &[Secret]) -> Result<Seen, Trouble> {
        // In the middle of a change it answers nonsense, or nothing.
        let Ok(health) = vault.health().await else { return Ok(Seen::Neither) };
        if !health.sealed {
            let active = health.cluster_id.filter(|_| !health.standby);
            return Ok(active.map_or(Seen::Neither, Seen::Active));
        }
        // A node that is only about to be sealed says so in one place, and not in the other.
        if !vault.seal_status().await.is_ok_and(|status| status.sealed) {
            return Ok(Seen::Neither);
        }
        for share in shares {
            let status = vault.unseal(share).await;
            let status =
                status.map_err(|error| Trouble::lasting(format!("the unseal keys do not fit: {error}")))?;
            if !status.sealed {
                return Ok(Seen::Sealed);
            }
        }
        Err(Trouble::lasting("the unseal keys do not open it"))
    }

    async fn active(&self, vault: &Vault) -> Result<(), Trouble> {
        let deadline = runtime::instant_now() + PATIENCE;
        while vault.health().await.map_or(true, |health| health.standby || health.sealed) {
            if runtime::instant_now() > deadline {
                let message = format!("{} does not become active within {PATIENCE:?}", vault.address());
                return Err(Trouble::lasting(message));
            }
            runtime::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The index of what is taken next is judged by this snapshot, not by later ones that are gone now.
    async fn acknowledge(&self, cluster_id: &str, proved: &Proved) -> Result<(), Trouble> {
        let said = Acknowledged { index: proved.checked.meta.index, at: self.lasting.clock.now().as_secs() };
        let line = Line::new(&self.config.name, cluster_id);
        for destination in &self.destinations {
            if let Err(error) = destination.acknowledge(&line, &said).await {
                say(&format!("{} could not be told of the restore: {error}", destination.name));
            }
        }
        say(&format!("snapshots from now on count from raft index {}", said.index));
        Ok(())
    }
}
