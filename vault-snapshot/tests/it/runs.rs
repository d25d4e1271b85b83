//! The ordinary run: login as in the guide, the leader, a snapshot, stored elsewhere.

use std::collections::BTreeSet;

use crate::world::{IDENTITY, directory, files, folder, run, shared, snapshots};

/// Whichever node the tool knows: it finds the leader and stores a snapshot that is whole.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_leads_to_the_leader() {
    let (world, home) = (shared().await, folder());
    for node in 0..3 {
        let disk = home.path().join(format!("disk-{node}"));
        let config = world.config(node, &format!("destinations:\n{}", directory("disk", &disk)));
        let ran = world.run(home.path(), &config, &["run"]).await.with_code(0);
        let names = snapshots(&disk);
        assert_eq!((names.len(), ran.out.trim()), (1, names[0].as_str()), "{ran:?}");
        // The snapshot, its record and the pointer; nothing half done.
        let all: BTreeSet<_> =
            files(&disk).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(all.len(), 3, "{all:?}");
        let pointer = all.iter().find(|name| name.to_string_lossy().ends_with(".latest")).unwrap();
        assert_eq!(std::fs::read_to_string(disk.join(pointer)).unwrap().trim(), names[0]);
        let listed = run(home.path(), &config, &["list"], &[], "").await.with_code(0);
        assert!(listed.out.contains(&names[0]) && listed.out.contains("ago"), "{listed:?}");
    }
}

/// The identity comes from JWT, from NOMAD_TOKEN, or from a file; the address from VAULT_ADDR.
#[tokio::test(flavor = "multi_thread")]
async fn the_identity_comes_from_where_a_job_has_it() {
    let (world, home) = (shared().await, folder());
    let (jwt, disk) = (world.jwt("vault-backup"), home.path().join("disk"));
    let destinations = format!("destinations:\n{}", directory("disk", &disk));
    let config = world.config(0, &destinations);
    world.run_with(home.path(), &config, &["run"], &[("NOMAD_TOKEN", &jwt)], "").await.with_code(0);

    let file = home.path().join("keys");
    std::fs::write(&file, format!("{jwt}\n")).unwrap();
    let from_file =
        config.replace("role: snapshot", &format!("role: snapshot, jwt_file: \"{}\"", file.display()));
    world.run_with(home.path(), &from_file, &["run"], &[], "").await.with_code(0);

    let spelled = config.replace("role: snapshot", "role: snapshot, jwt: \"${MY_JWT}\"");
    world.run_with(home.path(), &spelled, &["run"], &[("MY_JWT", &jwt)], "").await.with_code(0);

    let json = format!(
        r#"{{"vault": {{"auth": {{"role": "snapshot"}}, "tls": {{"ca_file": "{}"}}}},
            "destinations": [{{"name": "disk", "type": "directory", "path": "{}"}}]}}"#,
        world.cluster.ca_file().display(),
        disk.display()
    );
    let env = [("JWT", &*jwt), ("VAULT_ADDR", &world.cluster.address(1))];
    world.run_with(home.path(), &json, &["run"], &env, "").await.with_code(0);

    let refused = world.run_with(home.path(), &config, &["run"], &[], "").await.with_code(1);
    assert!(refused.err.contains("NOMAD_TOKEN"), "{refused:?}");
}

/// Bound claims: another job gets nothing, and a token that may not is refused.
#[tokio::test(flavor = "multi_thread")]
async fn another_job_gets_nothing() {
    let (world, home) = (shared().await, folder());
    let disk = home.path().join("disk");
    let config = world.config(0, &format!("destinations:\n{}", directory("disk", &disk)));
    let other = world.jwt("another-job");
    let ran = world.run_with(home.path(), &config, &["run"], &[("JWT", &other)], "").await.with_code(1);
    assert!(ran.err.contains("login by jwt"), "{ran:?}");
    assert_eq!(files(&disk), Vec::<std::path::PathBuf>::new());

    let by_token = config.replace("{method: jwt, role: snapshot}", "{method: token}");
    let ran =
        world.run_with(home.path(), &by_token, &["run"], &[("VAULT_TOKEN", "s.nobodynobodynobodynobo")], "");
    let ran = ran.await.with_code(1);
    assert!(ran.err.contains("check that the token"), "{ran:?}");
}

/// What is stored encrypted, any age can open; it is verified inside with the key, outside without.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_snapshot_is_one_of_age() {
    let (world, home) = (shared().await, folder());
    let (disk, key) = (home.path().join("disk"), home.path().join("identity"));
    std::fs::write(&key, IDENTITY).unwrap();
    let recipient =
        std::process::Command::new(testkit::system_tool("age-keygen")).arg("-y").arg(&key).output().unwrap();
    let recipient = String::from_utf8(recipient.stdout).unwrap();
    let config = world.config(
        0,
        &format!(
            "destinations:\n{}encryption: {{recipients: [\"{}\"]}}\n",
            directory("disk", &disk),
            recipient.trim()
        ),
    );
    let ran = world.run(home.path(), &config, &["run"]).await.with_code(0);
    let stored = disk.join(ran.out.trim());
    assert!(ran.out.trim().ends_with(".snap.age"));

    let opened = std::process::Command::new(testkit::system_tool("age"))
        .arg("-d")
        .arg("-i")
        .arg(&key)
        .arg(&stored)
        .output()
        .unwrap();
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    let members = {
        std::fs::write(home.path().join("plain.tgz"), &opened.stdout).unwrap();
        std::process::Command::new("tar")
            .arg("tzf")
            .arg(home.path().join("plain.tgz"))
            .output()
            .unwrap()
            .stdout
    };
    assert_eq!(String::from_utf8_lossy(&members), "meta.json\nstate.bin\nSHA256SUMS\nSHA256SUMS.sealed\n");

    let outside = run(home.path(), &config, &["verify"], &[], "").await.with_code(0);
    assert!(outside.out.contains("without a key"), "{outside:?}");
    let args = ["verify", "-identity", key.to_str().unwrap(), "-all"];
    let inside = world.run_with(home.path(), &config, &args, &[], "").await.with_code(0);
    assert!(inside.out.contains("inside too"), "{inside:?}");

    // One bit: it is noticed, and the snapshot is no longer one to rely on.
    let mut bytes = std::fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stored, bytes).unwrap();
    let damaged = world.run_with(home.path(), &config, &["verify"], &[], "").await.with_code(1);
    assert!(damaged.err.contains("checksum has changed"), "{damaged:?}");
    let listed = run(home.path(), &config, &["list"], &[], "").await;
    assert!(listed.out.trim_end().ends_with("  no"), "{listed:?}");
}

/// Every problem of a configuration at once, and never a secret in it.
#[tokio::test]
async fn a_bad_configuration_is_refused_whole() {
    let home = folder();
    let config = format!(
        "name: A-b\nvault:\n  addresses: [\"http://10.0.0.7:8200\"]\n  auth: {{method: approle, jwt: x}}\nretentoin: {{last: 3}}\n\
         encryption: {{recipients: [\"{IDENTITY}\"], identities: [\"AGE-SECRET-KEY-1WRONG\"]}}\n\
         schedule: {{cron: [\"61 * * * *\"], interval: 1h}}\n\
         destinations:\n  - {{name: a, type: directory, path: relative}}\n  - {{name: a, type: s3, bucket: b}}\n"
    );
    let ran = run(home.path(), &config, &["run"], &[], "").await.with_code(2);
    for expected in [
        "name: must be",
        "addresses[0]: is plain http",
        "auth.jwt: is a key of the method jwt",
        "did you mean `retention`",
        "recipients[0]: is a private key",
        "identities[0]: is not a private key",
        "cron[0]: is no cron expression",
        "interval: does not go together",
        "path: must be absolute",
        "endpoint: is required",
        "name: is the name of another",
    ] {
        assert!(ran.err.contains(expected), "{expected} is missing in:\n{}", ran.err);
    }
    assert!(!ran.err.contains("GFPYY") && !ran.err.contains("WRONG"), "{}", ran.err);
}
