//! Back from a snapshot: into an empty cluster, and in a rehearsal.

use std::os::unix::fs::PermissionsExt;

use testkit::{BaoCluster, tool};

use crate::world::{IDENTITY, canary, directory, folder, shared, snapshots};

/// A new cluster becomes the old one: the old shares unseal it, the old token reads the old data. It is not
/// overwritten unasked, and snapshots of it go on from there.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_becomes_the_old_one() {
    let (world, home) = (shared().await, folder());
    let (disk, key) = (home.path().join("disk"), home.path().join("identity"));
    std::fs::write(&key, IDENTITY).unwrap();
    let recipient =
        std::process::Command::new(testkit::system_tool("age-keygen")).arg("-y").arg(&key).output().unwrap();
    let recipient = String::from_utf8(recipient.stdout).unwrap();
    let more = format!(
        "destinations:\n{}encryption: {{recipients: [\"{}\"]}}\n",
        directory("disk", &disk),
        recipient.trim()
    );
    let ran = world.run(home.path(), &world.config(0, &more), &["run"]).await.with_code(0);
    let name = ran.out.trim().to_owned();
    // A later one, so that the index after the restore is one that went back.
    let line = name.split("-20").next().unwrap();
    std::fs::write(disk.join(format!("{line}-20200101T000000Z-99999999.snap")), vec![0; 10]).unwrap();

    let new = BaoCluster::start(1).await;
    let config = more.clone()
        + &format!(
            "vault: {{addresses: [\"{}\"], tls: {{ca_file: \"{}\"}}, auth: {{role: snapshot}}}}\nlog_level: debug\n",
            new.address(0),
            new.ca_file().display()
        );
    let key = key.to_str().unwrap();
    let keyless =
        world.run_with(home.path(), &config, &["restore", "-unseal-keys", "-"], &[], &world.shares()).await;
    assert!(keyless.with_code(1).err.contains("-identity"));
    let few = &world.cluster.shares[0];
    let args = ["restore", "-identity", key, "-unseal-keys", "-", "-snapshot", &name];
    let few = world.run_with(home.path(), &config, &args, &[], few).await.with_code(1);
    assert!(few.err.contains("3 are needed"), "{few:?}");
    assert!(!new.client(0).seal_status().await.unwrap().initialized, "it was touched");

    let ran = world.run_with(home.path(), &config, &args, &[], &world.shares()).await.with_code(0);
    for step in ["it is whole", "initialising", "restoring", "unsealing", "the cluster is back"] {
        assert!(ran.out.contains(step), "{step} is missing in {}", ran.out);
    }
    assert_eq!(canary(&new.client(0), &world.cluster.root()).await.as_deref(), Some("yellow"));

    let again = world.run_with(home.path(), &config, &args, &[], &world.shares()).await.with_code(1);
    assert!(again.err.contains("-force"), "{again:?}");
    world.run(home.path(), &config, &["run"]).await.with_code(0);

    // By force, over something that is no longer wanted.
    let body = serde_json::json!({"bird": "black"});
    new.client(0).write(&world.cluster.root(), "secret/canary", &body).await.unwrap();
    let forced = config.replace("auth: {role: snapshot}", "auth: {method: token}");
    let args = [&args[..], &["-force"]].concat();
    let env = [("VAULT_TOKEN", &*world.cluster.root_token)];
    world.run_with(home.path(), &forced, &args, &env, &world.shares()).await.with_code(0);
    assert_eq!(canary(&new.client(0), &world.cluster.root()).await.as_deref(), Some("yellow"));
}

/// The rehearsal reads the canary, and leaves neither a process nor a file. Its server is told no secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_reads_the_canary_and_leaves_nothing() {
    let (world, home) = (shared().await, folder());
    let (disk, keys, told) = (home.path().join("disk"), home.path().join("keys"), home.path().join("told"));
    std::fs::write(&keys, world.shares()).unwrap();
    let spy = home.path().join("spy");
    let text = format!(
        "#!/bin/sh\n(env; echo \"$@\"; echo \"pid $$\"; cat \"${{2#-config=}}\") >\"{}\"\nexec \"{}\" \"$@\"\n",
        told.display(),
        tool("openbao", "bao").display()
    );
    std::fs::write(&spy, text).unwrap();
    std::fs::set_permissions(&spy, std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = |canary: &str| {
        world.config(
            0,
            &format!(
                "destinations:\n{}drill: {{binary: \"{}\", canaries: [{canary}], unseal_keys: [{}]}}\n",
                directory("disk", &disk),
                spy.display(),
                world.cluster.shares[..3]
                    .iter()
                    .map(|share| format!("\"{share}\""))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )
    };
    world.run(home.path(), &config("secret/canary"), &["run"]).await.with_code(0);
    let env = [("TMPDIR", home.path().to_str().unwrap()), ("JWT", "a-very-secret-identity")];
    let drilled =
        world.run_with(home.path(), &config("secret/canary"), &["drill"], &env[..1], "").await.with_code(0);
    assert!(
        drilled.out.contains("read secret/canary: 1 fields") && drilled.out.contains("can be restored"),
        "{drilled:?}"
    );
    assert!(!drilled.out.contains("yellow") && !drilled.err.contains("yellow"), "{drilled:?}");
    assert_gone(home.path(), &told);

    let args = ["drill", "-unseal-keys", keys.to_str().unwrap()];
    let missing =
        crate::world::run(home.path(), &config("secret/nothing"), &args, &env, "").await.with_code(1);
    assert!(missing.err.contains("last words"), "{missing:?}");
    assert!(!std::fs::read_to_string(&told).unwrap().contains("a-very-secret-identity"));
    assert_gone(home.path(), &told);

    // Shares of another cluster do not open it.
    let wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\nBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAC\nCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAD\n";
    let args = ["drill", "-unseal-keys", "-"];
    let wrong =
        world.run_with(home.path(), &config("secret/canary"), &args, &env[..1], wrong).await.with_code(1);
    assert!(wrong.err.contains("unseal"), "{wrong:?}");
    assert_gone(home.path(), &told);
    assert_eq!(snapshots(&disk).len(), 1);
}

fn assert_gone(home: &std::path::Path, told: &std::path::Path) {
    let left = std::fs::read_dir(home).unwrap().flatten().map(|entry| entry.file_name());
    assert!(
        !left.into_iter().any(|name| name.to_string_lossy().starts_with("vault-snapshot-drill-")),
        "files are left"
    );
    let told = std::fs::read_to_string(told).unwrap();
    let pid = told.lines().find_map(|line| line.strip_prefix("pid ")).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid).exists(), "the server still runs");
}
