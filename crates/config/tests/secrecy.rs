//! Law 8: no secret of a configuration shows in anything that could be printed.

use config::Config;

/// Every secret of this file holds the word MARKER.
const SECRETS: &str = r#"
server: {listen_addr: ":9000"}
buckets:
  - name: a
    credentials:
      - {access_key_id: id-1, secret_access_key: MARKER-1, token: MARKER-2}
auth: {root: {access_key_id: id-2, secret_access_key: MARKER-3}}
database: {host: h, database: d, user: u, password: "MARKER-4$x"}
backends:
  - endpoint: https://s3.example.com
    bucket: b
    access_key_id: id-3
    secret_access_key: MARKER-5
encryption:
  master_key: TUFSS0VSTUFSS0VSTUFSS0VSTUFSS0VSTUFSS0VSTUE=
  previous_keys: [TUFSS0VSTUFSS0VSTUFSS0VSTUFSS0VSTUFSS0VSTUE=]
  vault: {address: "https://vault", key_name: k, token: MARKER-6}
redis: {address: "r:6379", password: MARKER-7}
ui: {enabled: true, admin_key: MARKER-8, admin_secret: MARKER-9, admin_token: MARKER-10, session_secret: MARKER-11}
notifications:
  endpoints: [{url: "https://hooks.example.com/MARKER-12", events: ["*"], secret: MARKER-13}]
"#;

fn is_silent(text: &str) {
    assert!(!text.contains("MARKER") && !text.contains("TUFSS0VS"), "{text}");
}

#[test]
fn nothing_that_can_be_printed_holds_a_secret() {
    let loaded = Config::parse(SECRETS, "f", &|_| None).unwrap();
    is_silent(&loaded.config.effective());
    is_silent(&format!("{loaded:?}"));
    is_silent(&format!("{:#?}", loaded.config));
    is_silent(&format!("{:?}", loaded.config.not_built()));
    assert!(loaded.config.effective().contains("session_secret: \"[redacted]\""));
    assert!(!loaded.warnings.is_empty(), "the `$` in a password is worth a warning");
    for warning in &loaded.warnings {
        is_silent(&warning.to_string());
    }
}

/// Each line of the file damaged in ways that make its values wrong.
#[test]
fn no_problem_holds_a_secret() {
    let damages: [fn(&str) -> String; 9] = [
        |line| line.replace(": MARKER", ": [MARKER]").replace(": TUFS", ": [TUFS"),
        |line| line.replace("MARKER", "{MARKER: 1}"),
        |line| line.replace("MARKER", "file:/MARKER"),
        |line| line.replace("MARKER", "env:MARKER/x"),
        |line| line.replace("MARKER", "\"${MARKER-x}\""),
        |line| line.replace("TUFSS0VS", "TUFSS0VS-"),
        |line| line.replace("id-", "MARKER "),
        |line| line.replace("https://", "https://MARKER:MARKER@"),
        |line| line.replace(": MARKER", ":MARKER").replace("secret: ", "secret: *"),
    ];
    let mut refused = 0;
    for damage in damages {
        for (index, line) in SECRETS.lines().enumerate() {
            let mut lines: Vec<_> = SECRETS.lines().map(str::to_owned).collect();
            lines[index] = damage(line);
            if let Err(problems) = Config::parse(&lines.join("\n"), "f", &|_| None) {
                refused += 1;
                is_silent(&problems.to_string());
                is_silent(&format!("{problems:?}"));
            }
        }
    }
    assert!(refused > 40, "only {refused} of the damaged files were refused");
}

#[test]
fn a_secret_from_the_environment_does_not_show_in_a_problem() {
    let env = |name: &str| (name == "TOKEN").then(|| "MARKER".to_owned());
    for line in
        ["rate_limit: {burst: \"${TOKEN}\"}", "server: {listen_addr: \"${TOKEN}\"}", "ui: \"${TOKEN}\""]
    {
        is_silent(&Config::parse(line, "f", &env).unwrap_err().to_string());
    }
}
