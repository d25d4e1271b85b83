//! s3-orchestrator itself as the place where snapshots go.

use s3_client::{ClientOptions, Credentials, S3Client};
use testkit::{ConfigBuilder, Orchestrator, tool};

use crate::destinations::bucket;
use crate::world::{World, assert_free_of, directory, folder, run, snapshots};

const DISKS: usize = 3;

fn options(store: &Orchestrator) -> ClientOptions {
    let credentials = Credentials {
        access_key_id: Orchestrator::ACCESS_KEY.to_owned(),
        secret_access_key: Orchestrator::SECRET_KEY.to_owned(),
        session_token: None,
    };
    ClientOptions::new(&store.endpoint, "backups", credentials)
}

/// Several parts, two replicas, a crash in between: listed, verified, pruned and rehearsed as with any other store.
#[tokio::test(flavor = "multi_thread")]
async fn s3_orchestrator_keeps_snapshots_as_any_store_does() {
    // More than one part of 16 MiB.
    let (world, home) = (World::start(1, 40).await, folder());
    let disk = home.path().join("disk");
    let mut store =
        Orchestrator::start(ConfigBuilder::new().directories(DISKS).factor(2).bucket("backups")).await;
    let drill = format!(
        "drill: {{binary: \"{}\", canaries: [secret/canary]}}\nretention: {{last: 2}}\n",
        tool("openbao", "bao").display()
    );
    let config = |store: &Orchestrator, more: &str| {
        let bucket = bucket("store", &options(store), &store.endpoint);
        world.config(0, &format!("destinations:\n{bucket}{more}"))
    };
    let both = format!("{}{drill}", directory("disk", &disk));
    let secrets = [Orchestrator::SECRET_KEY.to_owned()];

    let ran = world.run(home.path(), &config(&store, &both), &["run"]).await.with_code(0);
    assert_free_of(&secrets, "the output", &format!("{}{}", ran.out, ran.err));
    let first = ran.out.trim().to_owned();
    let copy = std::fs::read(disk.join(&first)).unwrap();
    assert!(copy.len() > 16 << 20, "{} bytes are not several parts", copy.len());

    store.kill_and_restart().await;
    let client = S3Client::new(options(&store)).unwrap();
    let stored = client.get_object(&format!("vault/{first}"), None).await.unwrap();
    let stored: Vec<_> = futures::TryStreamExt::try_collect(stored.body).await.unwrap();
    assert!(stored.concat() == copy, "the two copies differ");
    assert!(client.list_multipart_uploads("").await.unwrap().is_empty(), "an upload is left open");

    let alone = config(&store, &drill);
    let listed = run(home.path(), &alone, &["list"], &[], "").await.with_code(0);
    assert!(listed.out.contains(&first) && listed.out.contains("verified"), "{listed:?}");

    let mut names = vec![first];
    for _ in 0..2 {
        let ran = world.run(home.path(), &alone, &["run"]).await.with_code(0);
        names.push(ran.out.trim().to_owned());
    }
    // Each run prunes by itself; what it removed is gone, and the rest is whole.
    let pruned = run(home.path(), &alone, &["prune"], &[], "").await.with_code(0);
    assert!(!pruned.out.contains(&names[0]), "{pruned:?}");
    let held: Vec<String> = client
        .list_objects("vault/", None)
        .await
        .unwrap()
        .objects
        .into_iter()
        .map(|object| object.key)
        .collect();
    let whole = |name: &String| {
        held.contains(&format!("vault/{name}")) && held.contains(&format!("vault/{name}.json"))
    };
    assert!(!held.iter().any(|key| key.contains(&names[0])) && names[1..].iter().all(whole), "{held:?}");
    run(home.path(), &alone, &["verify", "-all"], &[], "").await.with_code(0);

    let shares = world.shares();
    let args = ["drill", "-unseal-keys", "-"];
    let drilled = world.run_with(home.path(), &alone, &args, &[], &shares).await.with_code(0);
    assert!(drilled.out.contains(&names[2]) || drilled.err.contains(&names[2]), "{drilled:?}");
    assert!(
        drilled.out.contains("read secret/canary: 1 fields") && drilled.out.contains("can be restored"),
        "{drilled:?}"
    );
    assert_eq!(snapshots(&disk).len(), 1);
    assert!(store.stop().await.success());
}
