//! What a server answered.

use std::io;

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The entity tag, with its quotes.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.header("etag").unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first XML element of this name, unescaped.
    #[must_use]
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The texts of all XML elements of this name that hold text only, unescaped.
    #[must_use]
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        let after = text.split(&open).skip(1);
        after.filter_map(|rest| rest.split_once(&close)).map(|(value, _)| unescape(value)).collect()
    }

    /// The code of an S3 error; empty where there is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }

    /// The answer itself where it is a success.
    ///
    /// # Panics
    /// Where it is none, with what it is.
    pub fn success(self, what: &str) -> Self {
        assert!((200..300).contains(&self.status), "{what}: {} {}", self.status, self.text());
        self
    }
}

/// The head of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Takes a head off the front, where it is there.
    pub(super) fn take(unread: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") else {
            let endless = unread.len() > HEAD_BYTES_MAX;
            return if endless { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
        };
        let rest = unread.split_off(end + 4);
        let head = std::mem::replace(unread, rest);
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Some(Self { status, headers }))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(super) fn with_body(self, body: Vec<u8>) -> Answer {
        Answer { status: self.status, headers: self.headers, body }
    }
}

fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn unescape(text: &str) -> String {
    let named = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    let mut out = String::new();
    let mut rest = named.as_str();
    while let Some((before, after)) = rest.split_once("&#") {
        out.push_str(before);
        let Some((digits, behind)) = after.split_once(';') else { break };
        let number = match digits.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        };
        out.extend(number.and_then(char::from_u32));
        rest = behind;
    }
    out.push_str(rest);
    out.replace("&amp;", "&")
}
