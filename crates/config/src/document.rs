//! From the text of a file to the section that it should hold, or to every problem of it at once.

use std::path::Path;

use crate::keys::KeyRow;
use crate::report::{Problem, Problems, Report};
use crate::section::{self, Section};
use crate::tree;

/// Looks up an environment variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file as text, together with the name that messages call it by.
pub(crate) fn text_of(path: &Path) -> Result<(String, String), Problems> {
    let file = path.display().to_string();
    let unreadable = |message: String| {
        let (line, column, key, hint) = (0, 0, String::new(), None);
        Problems(vec![Problem { file: file.clone(), line, column, key, message, hint }])
    };
    let bytes = std::fs::read(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("is not text in UTF-8".to_owned()))?;
    Ok((text, file))
}

/// Reads text as one section. `finish` judges what only the whole can show. Gives warnings besides.
pub(crate) fn parse<T: Section>(
    text: &str,
    file: &str,
    env: Env<'_>,
    keys: fn() -> Vec<KeyRow>,
    finish: impl FnOnce(T, &Report<'_>) -> T,
) -> Result<(T, Vec<Problem>), Problems> {
    let report = Report::new(file, text, env).with_keys(keys);
    let mut flaws = Vec::new();
    let read = match tree::parse(text, &mut flaws) {
        Ok(Some(root)) if !root.is_null() => section::read_section(&root, &report.root()),
        Ok(_) => Some(section::absent_section(&report.root())),
        Err(fatal) => {
            flaws.push(fatal);
            None
        }
    };
    for flaw in flaws {
        let hint = syntax_hint(text, flaw.position.line);
        report.refuse_at(flaw.position, "", flaw.message, hint.map(str::to_owned));
    }
    let read = read.map(|read| finish(read, &report));
    match (read, report.finish()) {
        (Some(read), (problems, warnings)) if problems.is_empty() => Ok((read, warnings)),
        (_, (problems, _)) => Err(Problems(problems)),
    }
}

/// What is usually behind text that is not YAML.
fn syntax_hint(text: &str, line: usize) -> Option<&'static str> {
    if text.contains("{{") {
        return Some("`{{` looks like a template: render it first");
    }
    let line = text.lines().nth(line.checked_sub(1)?)?;
    line.contains("${").then_some("write \"${NAME}\" in quotes within `{}` or `[]`")
}
