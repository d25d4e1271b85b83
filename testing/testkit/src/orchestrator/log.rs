//! What an orchestrator logged: one JSON document per line.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// A log that grows while it is read.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its bytes so far.
    pub(super) fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// A text field of the first line with this message.
    pub(super) fn field_of(&self, message: &str, field: &str, mark: u64) -> Option<String> {
        let message = format!("\"message\":\"{message}\"");
        let field = format!("\"{field}\":\"");
        let text = self.since(mark);
        let line = whole_lines(&text).find(|line| line.contains(&message))?;
        let (_, rest) = line.split_once(&field)?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }

    /// Lines of severity WARN and ERROR, and lines that are no log lines, such as those of a panic.
    pub(super) fn complaints_since(&self, mark: u64) -> Vec<String> {
        let text = self.since(mark);
        whole_lines(&text).filter(|line| complains(line)).map(str::to_owned).collect()
    }

    fn since(&self, mark: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(&self.path) {
            file.seek(SeekFrom::Start(mark)).expect("a file can be read from anywhere");
            file.read_to_end(&mut bytes).expect("the log can be read");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn complains(line: &str) -> bool {
    let severe = ["\"level\":\"WARN\"", "\"level\":\"ERROR\""].iter().any(|level| line.contains(level));
    severe || !(line.starts_with('{') || line.is_empty())
}

/// All lines but one that is still being written.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, complaints: usize) {
        let folder = crate::Process::new_folder();
        let log = Log::at(folder.path().join("log"));
        std::fs::write(&log.path, text).unwrap();
        assert_eq!(log.complaints_since(0).len(), complaints, "{text}");
    }

    #[test]
    fn information_is_no_complaint() {
        check("{\"level\":\"INFO\",\"message\":\"a\"}\n{\"level\":\"DEBUG\",\"message\":\"b\"}\n", 0);
    }

    #[test]
    fn a_warning_an_error_and_a_panic_are() {
        check(
            "{\"level\":\"WARN\",\"message\":\"a\"}\n{\"level\":\"ERROR\",\"message\":\"b\"}\nthread panicked\n",
            3,
        );
    }

    #[test]
    fn a_line_that_is_being_written_is_not_judged_yet() {
        check("{\"level\":\"INFO\"}\n{\"level\":\"ERROR\",", 0);
    }

    #[test]
    fn a_field_is_found_after_the_mark_only() {
        let folder = crate::Process::new_folder();
        let log = Log::at(folder.path().join("log"));
        let first = "{\"message\":\"listening\",\"addr\":\"a:1\"}\n";
        std::fs::write(&log.path, first).unwrap();
        assert_eq!(log.field_of("listening", "addr", 0).as_deref(), Some("a:1"));
        let mark = log.len();
        assert_eq!(log.field_of("listening", "addr", mark), None);
        std::fs::write(&log.path, format!("{first}{}", first.replace("a:1", "b:2"))).unwrap();
        assert_eq!(log.field_of("listening", "addr", mark).as_deref(), Some("b:2"));
    }
}
