//! An orchestrator with something in it, which refused requests must leave exactly as it was.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use runtime::instant_now;
use testkit::wire::{Answer, Call, SignedHead, Wire, WireClient};
use testkit::{ConfigBuilder, Orchestrator};

use crate::books;
use crate::support::{METRICS, reaper_is_idle};

/// How long what a refused request left may take to be cleaned up.
const CLEAN_WITHIN: Duration = Duration::from_secs(120);
/// The object that requests aim at.
pub(crate) const WITNESS: &str = "/b/witness";
const DISKS: usize = 2;

/// It, and what it held before.
pub(crate) struct Site {
    /// The process.
    pub(crate) orchestrator: Orchestrator,
    /// Its client.
    pub(crate) wire: WireClient,
    /// An open upload for `/b/upload`, with part 1.
    pub(crate) upload: String,
    before: World,
}

/// All that clients and the disks can see.
#[derive(Debug, PartialEq, Eq)]
struct World {
    objects: Vec<String>,
    uploads: Vec<String>,
    witness: Vec<u8>,
    files: Vec<(PathBuf, u64)>,
}

/// What happens to a request that is expected to be refused.
pub(crate) type Refused = io::Result<Answer>;

impl Site {
    /// With the configuration that tests of bad input want.
    pub(crate) async fn start() -> Self {
        Self::start_with(ConfigBuilder::new()).await
    }

    /// With additions to it.
    pub(crate) async fn start_with(config: ConfigBuilder) -> Self {
        let config = config.directories(DISKS).factor(2).bucket("b").more(METRICS);
        let orchestrator = Orchestrator::start(config).await;
        let wire = orchestrator.wire();
        let witness = Call::put(WITNESS, "the witness").header("x-amz-meta-kept", "yes");
        wire.ask(&witness).await.success("put");
        wire.ask(&Call::put("/b/dir/other", vec![7; 100_000])).await.success("put");
        let created = wire.ask(&Call::new("POST", "/b/upload").flag("uploads")).await.success("create");
        let upload = created.element("UploadId").expect("it has an id");
        let part = Call::put("/b/upload", "a part").query("uploadId", &upload).query("partNumber", "1");
        wire.ask(&part).await.success("part");
        // The journal writes temporary files too: none of these may be taken for what has to stay.
        let mut before = World::look(&orchestrator, &wire, &upload).await;
        while before.is_writing() {
            before = World::look(&orchestrator, &wire, &upload).await;
        }
        Self { orchestrator, wire, upload, before }
    }

    /// Sends a call signed as it should be.
    pub(crate) async fn send(&self, call: &Call) -> Refused {
        self.wire.send(call).await
    }

    /// Sends a head and bytes as they stand.
    pub(crate) async fn send_raw(&self, head: &SignedHead, body: &[u8], method: &str) -> Refused {
        let bytes = [&head.bytes[..], body].concat();
        Wire::connect(&self.wire.address).await?.exchange(&bytes, method).await
    }

    /// Sends a call with its head changed after it was signed.
    pub(crate) async fn tampered(&self, call: &Call, from: &str, to: &str) -> Refused {
        let head = self.wire.signed(call);
        let text = String::from_utf8(head.bytes.clone()).expect("a head is text");
        assert!(text.contains(from), "{from} is not in {text}");
        let head = SignedHead { bytes: text.replacen(from, to, 1).into_bytes(), ..head };
        self.send_raw(&head, &call.body, &call.method).await
    }

    /// Demands that a request was refused with one of these (`403 AccessDenied`, `416`, `closed`), and that
    /// it has changed nothing.
    pub(crate) async fn check(&self, what: &str, expected: &[&str], outcome: Refused) {
        let got = match &outcome {
            Err(_) => "closed".to_owned(),
            Ok(answer) => format!("{} {}", answer.status, answer.code()).trim_end().to_owned(),
        };
        println!("{what}: {got}");
        let text = outcome.as_ref().map(Answer::text).unwrap_or_default();
        assert!(expected.contains(&got.as_str()), "{what}: expected {expected:?}, got {got}: {text:?}");
        self.unchanged(what).await;
    }

    /// Demands that nothing has changed, once the reaper has removed what never became visible.
    pub(crate) async fn unchanged(&self, what: &str) {
        let deadline = instant_now() + CLEAN_WITHIN;
        loop {
            let now = World::look(&self.orchestrator, &self.wire, &self.upload).await;
            if now == self.before {
                return;
            }
            let visible = (&now.objects, &now.uploads, &now.witness);
            let before = (&self.before.objects, &self.before.uploads, &self.before.witness);
            assert_eq!(visible, before, "{what}: it changed what clients see");
            assert!(
                instant_now() < deadline,
                "{what}: it left {:?}, before {:?}",
                now.files,
                self.before.files
            );
            runtime::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the process and proves its books.
    pub(crate) async fn end(mut self) {
        reaper_is_idle(&self.wire).await;
        assert!(self.orchestrator.stop().await.success(), "a clean end");
        let backends = books::directories(self.orchestrator.folder(), DISKS).await;
        books::check(&self.orchestrator.folder().join("catalog.db"), &backends).await;
    }
}

impl World {
    /// Whether a temporary file was there.
    fn is_writing(&self) -> bool {
        let is_temporary =
            |path: &PathBuf| path.components().any(|part| part.as_os_str() == ".s3-orchestrator-tmp");
        self.files.iter().any(|(path, _)| is_temporary(path))
    }

    async fn look(orchestrator: &Orchestrator, wire: &WireClient, upload: &str) -> Self {
        let list = wire.ask(&Call::get("/b").query("list-type", "2")).await.success("list");
        let details: Vec<String> = ["Key", "ETag", "Size", "LastModified"]
            .into_iter()
            .flat_map(|name| list.elements(name))
            .collect();
        let uploads =
            wire.ask(&Call::get("/b").flag("uploads")).await.success("uploads").elements("UploadId");
        let parts = wire.ask(&Call::get("/b/upload").query("uploadId", upload)).await.success("parts");
        let parts = parts.elements("PartNumber").into_iter().chain(parts.elements("ETag"));
        let witness = wire.ask(&Call::get(WITNESS)).await.success("witness");
        assert_eq!(witness.header("x-amz-meta-kept"), Some("yes"), "the witness keeps its metadata");
        let files = (0..DISKS)
            .flat_map(|index| books::files(&orchestrator.folder().join(format!("disk-{index}"))))
            // The journal goes its own way.
            .filter(|path| !path.components().any(|part| part.as_os_str() == ".s3-orchestrator"))
            .map(|path| (std::fs::metadata(&path).map_or(0, |file| file.len()), path))
            .map(|(length, path)| (path, length))
            .collect();
        Self {
            objects: details,
            uploads: uploads.into_iter().chain(parts).collect(),
            witness: witness.body,
            files,
        }
    }
}
