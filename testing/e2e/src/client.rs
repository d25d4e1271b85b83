//! A client: a script that drives it, in an environment that knows nothing but the server under test.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use testkit::Orchestrator;
use tokio::process::{Child, Command};

use crate::data::Data;
use crate::site::Site;

/// Longest run of a script, on a busy machine.
const RUN_WITHIN: Duration = Duration::from_secs(900);

/// A script and what it needs.
#[derive(Debug)]
pub struct Client {
    bucket: &'static str,
    command: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Client {
    /// The script `clients/NAME`, run by a program, in a bucket.
    #[must_use]
    pub fn new(bucket: &'static str, program: impl Into<OsString>, script: &str) -> Self {
        let script = testkit::workspace().join("testing/e2e/clients").join(script);
        Self { bucket, command: vec![program.into(), script.into()], environment: Vec::new() }
    }

    /// The shell script `clients/NAME`, which uses these programs of the system.
    ///
    /// # Panics
    /// Where one is not installed, with the command that installs it.
    #[must_use]
    pub fn shell(bucket: &'static str, script: &str, uses: &[&str]) -> Self {
        for program in uses {
            let _ = testkit::system_tool(program);
        }
        Self::new(bucket, "/bin/sh", script)
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// Where it finds something that is not as S3 has it, or the orchestrator logs a warning meanwhile.
    pub async fn run(self, site: &Site, data: &Data) {
        println!("seed {} (set S3O_SEED for another)", data.seed);
        let folder = tempfile::Builder::new().prefix("s3o-e2e-").tempdir().expect("a folder can be made");
        let mark = site.orchestrator.log_mark();
        let failure = self.try_run(site, data, &folder).await.err();
        println!("{}", std::fs::read_to_string(folder.path().join("output")).unwrap_or_default());
        let complaints = site.orchestrator.complaints_since(mark);
        if failure.is_some() || !complaints.is_empty() {
            println!("the last lines that the orchestrator logged:\n{}", site.orchestrator.log_tail());
        }
        if let Some(failure) = failure {
            panic!("{}: {failure}", self.bucket);
        }
        // Clients that run at the same time share this log, so it may speak of another's requests.
        assert!(
            complaints.is_empty(),
            "the orchestrator logged what nobody allowed:\n{}",
            complaints.join("\n")
        );
    }

    async fn try_run(&self, site: &Site, data: &Data, folder: &TempDir) -> Result<(), String> {
        let output = File::create(folder.path().join("output")).expect("the folder is ours");
        let mut command = self.command(&site.orchestrator, data, folder.path());
        command.stdout(output.try_clone().expect("a file handle can be cloned")).stderr(output);
        let mut child =
            command.spawn().map_err(|error| format!("cannot start {:?}: {error}", self.command))?;
        match runtime::timeout(RUN_WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("failed ({status}), see its output above")),
            Ok(Err(error)) => Err(format!("cannot be waited for: {error}")),
            Err(_) => {
                kill_group(&child).await;
                Err(format!("still ran after {RUN_WITHIN:?}"))
            }
        }
    }

    /// Nothing of the environment of the test reaches it: no key, no proxy, no configuration file.
    fn command(&self, server: &Orchestrator, data: &Data, folder: &Path) -> Command {
        std::fs::create_dir(folder.join("tmp")).expect("the folder is ours");
        let ca = server.ca_file();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).current_dir(folder).stdin(Stdio::null());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.env("PATH", testkit::system_path()).env("HOME", folder).env("TMPDIR", folder.join("tmp"));
        command.envs([("LANG", "C.UTF-8"), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONUNBUFFERED", "1")]);
        command.envs([("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_PAGER", "")]);
        command.envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")]);
        command.envs([("AWS_REGION", "us-east-1"), ("AWS_DEFAULT_REGION", "us-east-1")]);
        command.env("AWS_ACCESS_KEY_ID", Orchestrator::ACCESS_KEY);
        command.env("AWS_SECRET_ACCESS_KEY", Orchestrator::SECRET_KEY);
        command.env("S3O_ENDPOINT", &server.endpoint).env("S3O_CA", ca.clone().unwrap_or_default());
        command.env("S3O_BUCKET", self.bucket).env("S3O_BUCKET_2", Site::SECOND_BUCKET);
        command.env("S3O_DATA", &data.folder).env("S3O_LARGE", data.large());
        command.env("S3O_SEED", data.seed.to_string());
        if let Some(ca) = ca {
            command.env("AWS_CA_BUNDLE", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
        }
        // A script that hangs is ended with all that it started.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

async fn kill_group(child: &Child) {
    let Some(id) = child.id() else { return };
    let kill =
        Command::new("/bin/sh").args(["-c", "kill -9 -- \"-$1\"", "kill", &id.to_string()]).status().await;
    drop(kill);
}
