//! Whatever the text is: a configuration, or problems with lines that exist.

use config::Config;
use proptest::prelude::*;

const GUIDE: &str = include_str!("fixtures/guide.yaml");

fn check(text: &str) {
    let env = |name: &str| (name.len() > 3).then(|| "value".to_owned());
    match Config::parse(text, "f", &env) {
        Ok(loaded) => {
            let effective = loaded.config.effective();
            let again = Config::parse(&effective, "f", &env)
                .unwrap_or_else(|problems| panic!("{problems}\n{effective}"));
            assert_eq!(again.config.effective(), effective);
        }
        Err(problems) => {
            let lines = text.lines().count().max(1);
            assert!(!problems.0.is_empty());
            for problem in &problems.0 {
                assert!((1..=lines).contains(&problem.line), "{problem} of {lines} lines in {text:?}");
            }
        }
    }
}

/// Text made of what YAML and this configuration are made of.
fn yaml_like() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "server",
        "buckets",
        "backends",
        "name",
        "type",
        "directory",
        "path",
        "redis",
        "ui",
        ": ",
        ":",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<",
        "!x ",
        "|",
        ">",
        "---\n",
        "#",
        "${HOME}",
        "$",
        "${",
        "0",
        "-1",
        "5m",
        "true",
        "~",
        ",",
        "\t",
        "é",
        "\u{feff}",
        "%YAML 1.2\n",
        "? ",
        "file:/dev/null",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_yaml_is_read_without_a_panic(text in yaml_like()) {
        check(&text);
    }

    #[test]
    fn a_damaged_guide_is_read_or_refused(line in 0..GUIDE.lines().count(), kind in 0..6, junk in yaml_like()) {
        let mut lines: Vec<_> = GUIDE.lines().map(str::to_owned).collect();
        match kind {
            0 => { lines.remove(line); }
            1 => { let copy = lines[line].clone(); lines.insert(line, copy); }
            2 => lines[line] = junk,
            3 => lines[line].push_str(&junk),
            4 => lines[line].insert_str(0, "  "),
            _ => {
                let key_end = lines[line].find(':').map_or(0, |at| at + 1);
                lines[line].truncate(key_end);
                lines[line].push_str(&format!(" {junk}"));
            }
        }
        check(&lines.join("\n"));
    }
}

/// Aliases of aliases of aliases, and brackets within brackets.
#[test]
fn a_bomb_is_harmless() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..60 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
    }
    check(&bomb);
    check(&"[".repeat(100_000));
    check(&"{a: ".repeat(100_000));
    check(&"- ".repeat(100_000));
    check(&format!("server: {}", "[".repeat(200)));
}
