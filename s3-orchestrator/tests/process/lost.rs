//! The catalog is lost, old or copied: it is noticed, nothing is harmed, and it comes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use futures::TryStreamExt;
use s3_client::{PutBody, PutObject, S3Client};

use crate::support::{Server, client, get, program, run, text, wait_until};

const TOKEN: &str = "a token of some length";

/// Two directories, replicated, with the journal as quick as it can be.
fn config(dir: &Path, name: &str, catalog: &str) -> String {
    let path = dir.join(format!("{name}.yaml"));
    let dir = dir.display();
    let text = format!(
        "server: {{ listen_addr: \"127.0.0.1:0\", shutdown_delay: 0s }}\n\
         database: {{ path: \"{dir}/{catalog}\" }}\n\
         buckets: [{{ name: b, credentials: [{{ access_key_id: key, secret_access_key: secret }}] }}]\n\
         backends:\n\
         - {{ type: directory, name: one, path: \"{dir}/one\", quota_bytes: 1GB }}\n\
         - {{ type: directory, name: two, path: \"{dir}/two\", quota_bytes: 1GB }}\n\
         replication: {{ factor: 2 }}\n\
         journal: {{ interval: 50ms }}\n\
         ui: {{ admin_token: \"{TOKEN}\" }}\n\
         telemetry: {{ metrics: {{ enabled: true }} }}\n"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn start(config: &str) -> (Server, S3Client) {
    let server = Server::start(config).await;
    server.ready().await;
    let client = client(&server.addr, "b", ("key", "secret"));
    (server, client)
}

async fn put(client: &S3Client, key: &str, data: &str) -> bool {
    let body = PutBody::Bytes(data.to_owned().into());
    client.put_object(PutObject { key, body, metadata: &[] }).await.is_ok()
}

async fn read(client: &S3Client, key: &str) -> Option<String> {
    let object = client.get_object(key, None).await.ok()?;
    let chunks: Vec<_> = object.body.try_collect().await.ok()?;
    Some(text(&chunks.concat()))
}

async fn metric(server: &Server, name: &str) -> Option<f64> {
    let page = get(&server.addr, "/metrics").await.2;
    let line = page.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')))?;
    line.trim().parse().ok()
}

async fn shipped(server: &Server) {
    wait_until("all is shipped", async || {
        metric(server, "s3o_journal_unshipped_age_seconds").await == Some(0.0)
    })
    .await;
}

async fn end(mut server: Server) {
    server.signal("TERM").await;
    assert_eq!(server.ended().await.code(), Some(0));
}

/// Not ready, and the answer, the log and the metrics say why and what to do; S3 is not served.
async fn check_frozen(server: &mut Server, says: &str) {
    server.said("frozen, nothing is").await;
    wait_until("it says why", async || get(&server.addr, "/health/ready").await.2.contains("reason")).await;
    let (status, _, body) = get(&server.addr, "/health/ready").await;
    assert_eq!(status, 503);
    assert!(body.contains(says) && body.contains("s3-orchestrator rebuild"), "{body}");
    assert_eq!(get(&server.addr, "/health").await.0, 200);
    assert_eq!(metric(server, "s3o_catalog_frozen").await, Some(1.0));
}

async fn admin(server: &Server, command: &str) -> serde_json::Value {
    let addr = format!("-addr=http://{}", server.addr);
    let output = program(&["admin", &addr, command]).env("S3O_ADMIN_TOKEN", TOKEN).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

async fn rebuild(config: &str, flags: &[&str]) -> String {
    let output = run(&[&["rebuild", "-config", config], flags].concat()).await;
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[tokio::test]
async fn n36_a_lost_catalog_is_noticed_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "c", "catalog.db");
    let (server, client) = start(&config).await;
    for number in 0..20 {
        assert!(put(&client, &format!("k{number}"), &format!("first {number}")).await);
    }
    assert!(put(&client, "k3", "second").await);
    client.delete_object("k4").await.unwrap();
    shipped(&server).await;
    end(server).await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("catalog.db{suffix}")));
    }

    // A new catalog finds the backends taken: nothing is marked, written or deleted.
    let before = (files(&dir.path().join("one")), files(&dir.path().join("two")));
    let mut server = Server::start(&config).await;
    check_frozen(&mut server, "catalog was lost").await;
    let (status, _, _) = get(&server.addr, "/b/k1").await;
    assert_eq!(status, 503);
    end(server).await;
    assert!(before == (files(&dir.path().join("one")), files(&dir.path().join("two"))));

    // A look changes nothing either.
    let said = rebuild(&config, &[]).await;
    assert!(said.contains("nothing was changed") && said.contains("requests"), "{said}");
    assert!(said.contains("lists each backend whole"), "{said}");
    assert!(before == (files(&dir.path().join("one")), files(&dir.path().join("two"))));
    let said = rebuild(&config, &["-execute"]).await;
    assert!(said.contains("rebuilt: 19 objects"), "{said}");
    assert!(said.contains("limits stay closed"), "{said}");

    let (server, client) = start(&config).await;
    for number in 0..20 {
        let expected = match number {
            3 => Some("second".to_owned()),
            4 => None,
            _ => Some(format!("first {number}")),
        };
        assert_eq!(read(&client, &format!("k{number}")).await, expected, "k{number}");
    }
    assert!(put(&client, "new", "life").await);
    // Nobody knows what was spent before the loss: an operator has to say so.
    assert_eq!(admin(&server, "limits").await["closed"], true);
    assert_eq!(admin(&server, "limits-open").await["closed"], false);
    assert_eq!(admin(&server, "limits").await["closed"], false);
    assert_eq!(admin(&server, "brake").await["engaged"], false);
    assert_eq!(admin(&server, "brake-release").await["engaged"], false);
    shipped(&server).await;
    end(server).await;
}

#[tokio::test]
async fn an_old_catalog_serves_nothing_and_what_it_lacks_is_quarantined() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "c", "catalog.db");
    let (server, client) = start(&config).await;
    assert!(put(&client, "a", "1").await);
    shipped(&server).await;
    end(server).await;
    fs::copy(dir.path().join("catalog.db"), dir.path().join("old.db")).unwrap();
    let (server, client) = start(&config).await;
    assert!(put(&client, "a", "2").await);
    assert!(put(&client, "b", "3").await);
    shipped(&server).await;
    end(server).await;
    fs::rename(dir.path().join("old.db"), dir.path().join("catalog.db")).unwrap();

    let mut server = Server::start(&config).await;
    check_frozen(&mut server, "not the newest").await;
    assert_eq!(get(&server.addr, "/b/a").await.0, 503, "it would serve the past");
    end(server).await;
    let said = rebuild(&config, &["-execute"]).await;
    assert!(said.contains("rebuilt: 2 objects"), "{said}");
    let (server, client) = start(&config).await;
    assert_eq!(read(&client, "a").await.as_deref(), Some("2"));
    assert_eq!(read(&client, "b").await.as_deref(), Some("3"));
    end(server).await;

    // Bytes of ours that no segment speaks of are kept, and are nobody's; but for those of a blob that is known.
    let one = files(&dir.path().join("one"));
    let (path, bytes) = one.iter().find(|(path, _)| path.contains("/b/b~")).unwrap();
    let (object, replica) = path.rsplit_once('.').unwrap();
    let found = format!("{object}.{}", another_id(replica));
    let (folder, blob) = object.rsplit_once("/b~").unwrap();
    let stray = format!("{folder}/stray~{}.{}", another_id(blob), another_id(&another_id(replica)));
    fs::write(&found, bytes).unwrap();
    fs::write(&stray, bytes).unwrap();
    let said = rebuild(&config, &["-execute"]).await;
    assert!(said.contains("1 replicas that nothing names are in quarantine"), "{said}");
    assert!(said.contains("1 replicas that no segment named are of blobs that are known"), "{said}");
    for copy in [path, &path.replace("/one/", "/two/")] {
        // What it was written as is lost: what was found has to do.
        let name = copy.rsplit_once("~").unwrap().0;
        let blob = blob_of(copy);
        let lying = files(Path::new(name).parent().unwrap());
        let named = lying.keys().filter(|path| blob_of(path) == blob && **path != found);
        named.for_each(|path| fs::remove_file(path).unwrap());
    }
    let (server, client) = start(&config).await;
    assert_eq!(read(&client, "stray").await, None, "never visible by itself");
    assert_eq!(read(&client, "b").await.as_deref(), Some("3"));
    assert!(Path::new(&stray).exists());
    end(server).await;
}

/// An id that no row has, but for one in 32.
fn another_id(id: &str) -> String {
    let (rest, last) = id.split_at(id.len() - 1);
    let last = match last {
        "Z" => "Y",
        "Y" => "X",
        _ => "Z",
    };
    format!("{rest}{last}")
}

/// The blob that a path names.
fn blob_of(path: &str) -> &str {
    path.rsplit_once('~').and_then(|(_, ids)| ids.split_once('.')).map_or("", |(blob, _)| blob)
}

#[tokio::test]
async fn a_copy_of_the_catalog_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path(), "first", "catalog.db");
    let (server, client) = start(&first).await;
    assert!(put(&client, "a", "1").await);
    shipped(&server).await;
    end(server).await;
    // Whoever copies the file of a process that has ended has all of it.
    let log = fs::metadata(dir.path().join("catalog.db-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0);
    fs::copy(dir.path().join("catalog.db"), dir.path().join("copy.db")).unwrap();
    let second = config(dir.path(), "second", "copy.db");
    // Whoever ships first is the one: the other meets what it did not write.
    let (server, client) = start(&second).await;
    assert!(put(&client, "b", "of the copy").await);
    shipped(&server).await;
    end(server).await;
    let mut original = Server::start(&first).await;
    check_frozen(&mut original, "which this catalog did not write").await;
    end(original).await;
    let (server, client) = start(&second).await;
    assert_eq!(read(&client, "b").await.as_deref(), Some("of the copy"));
    end(server).await;
}

#[tokio::test]
async fn a_rebuild_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "c", "catalog.db");
    let output = run(&["rebuild", "-config", &config]).await;
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("one") && said.contains("-without one"), "{said}");
    let (server, client) = start(&config).await;
    assert!(put(&client, "a", "1").await);
    // Nothing is rebuilt under a process that serves.
    shipped(&server).await;
    let output = run(&["rebuild", "-config", &config, "-execute"]).await;
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("in use by another process"), "{}", text(&output.stderr));
    end(server).await;
}
