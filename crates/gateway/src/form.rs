//! A browser's form (multipart/form-data): fields first, then one file. Everything behind the file is
//! ignored, as S3 does.

use bytes::{Bytes, BytesMut};
use engine::BodyFault;
use futures::{Stream, StreamExt};

use crate::error::{Code, Fault, Outcome};

/// Most bytes of all that stands before the file.
const FIELDS_BYTES_MAX: usize = 64 << 10;
/// Most fields.
const FIELDS_MAX: usize = 100;

/// The fields of a form, and what is known of its file.
#[derive(Debug)]
pub(crate) struct Fields {
    fields: Vec<(String, String)>,
    /// The file's name, without folders.
    pub(crate) file_name: String,
    /// The type that the browser gave the file.
    pub(crate) file_type: Option<String>,
}

impl Fields {
    /// The value of a field; names are in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All fields, names in lower case.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Reads a form from a stream.
pub(crate) struct FormReader<S> {
    stream: S,
    buffer: BytesMut,
    /// The line end and boundary that end a part.
    delimiter: Vec<u8>,
}

struct PartHead {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
}

impl<S> FormReader<S>
where
    S: Stream<Item = Result<Bytes, BodyFault>> + Unpin,
{
    /// A form with the boundary that its `Content-Type` names.
    pub(crate) fn new(stream: S, content_type: &str) -> Outcome<Self> {
        let boundary = parameter(content_type, "boundary").filter(|text| (1..=70).contains(&text.len()));
        let boundary = boundary.ok_or_else(|| malformed("the boundary is missing"))?;
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first boundary may stand at the very start: give it the line end that all others have.
        Ok(Self { stream, buffer: BytesMut::from(&b"\r\n"[..]), delimiter })
    }

    /// Reads all fields, up to the first byte of the file.
    pub(crate) async fn fields(&mut self) -> Outcome<Fields> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut left = FIELDS_BYTES_MAX;
        // What stands before the first boundary is ignored.
        self.until_delimiter(&mut left).await?;
        loop {
            let head = self.part_head(&mut left).await?;
            if head.name == "file" {
                let path = head.file_name.unwrap_or_default();
                let file_name = path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
                return Ok(Fields { fields, file_name, file_type: head.content_type });
            }
            let value = self.until_delimiter(&mut left).await?;
            let value = String::from_utf8(value.to_vec()).map_err(|_| malformed("a field is not UTF-8"))?;
            // Were both taken, a policy might look at one and the write at the other.
            if fields.iter().any(|(name, _)| *name == head.name) {
                return Err(
                    Fault::argument("A form field stands twice.").with_detail("ArgumentName", head.name)
                );
            }
            if fields.len() >= FIELDS_MAX {
                return Err(malformed("there are too many fields"));
            }
            fields.push((head.name, value));
        }
    }

    /// Reads the file, which may have so many bytes.
    pub(crate) async fn file(&mut self, bytes_max: usize) -> Outcome<Bytes> {
        let mut left = bytes_max;
        self.until_delimiter(&mut left).await.map_err(|fault| match fault.code {
            Code::MaxMessageLengthExceeded => {
                Fault::from(Code::EntityTooLarge).with_detail("MaxSizeAllowed", bytes_max.to_string())
            }
            _ => fault,
        })
    }

    async fn part_head(&mut self, left: &mut usize) -> Outcome<PartHead> {
        // `--` behind a boundary ends the form: then there was no file.
        let text = self.until(b"\r\n\r\n", left).await?;
        let text = std::str::from_utf8(&text).map_err(|_| malformed("a part's head is not UTF-8"))?;
        let mut head = PartHead { name: String::new(), file_name: None, content_type: None };
        for line in text.split("\r\n") {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.trim().eq_ignore_ascii_case("content-disposition") {
                head.name = parameter(value, "name").unwrap_or_default().to_ascii_lowercase();
                head.file_name = parameter(value, "filename");
            } else if name.trim().eq_ignore_ascii_case("content-type") {
                head.content_type = Some(value.trim().to_owned());
            }
        }
        if head.name.is_empty() {
            return Err(malformed("a part has no name, or the file is missing"));
        }
        Ok(head)
    }

    async fn until_delimiter(&mut self, left: &mut usize) -> Outcome<Bytes> {
        let delimiter = std::mem::take(&mut self.delimiter);
        let found = self.until(&delimiter, left).await;
        self.delimiter = delimiter;
        found
    }

    /// What stands before the needle; both are taken.
    async fn until(&mut self, needle: &[u8], left: &mut usize) -> Outcome<Bytes> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer, needle, from) {
                *left = left.checked_sub(at).ok_or(Fault::from(Code::MaxMessageLengthExceeded))?;
                let found = self.buffer.split_to(at).freeze();
                let _ = self.buffer.split_to(needle.len());
                return Ok(found);
            }
            // A needle may have begun in the last bytes.
            from = self.buffer.len().saturating_sub(needle.len() - 1);
            if from > *left {
                return Err(Code::MaxMessageLengthExceeded.into());
            }
            match self.stream.next().await {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None => return Err(malformed("it ends too early")),
            }
        }
    }
}

fn find(buffer: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += buffer.get(at..)?.iter().position(|byte| *byte == needle[0])?;
        if buffer[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
}

/// A parameter behind a semicolon: `; name="value"`.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text.split_once(';')?.1;
    loop {
        let (key, behind) = rest.split_once('=')?;
        let (value, next) = value_of(behind.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next.trim_start().strip_prefix(';')?;
    }
}

/// A value, perhaps in quotes, and what stands behind it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            // Only a quote or a backslash is escaped; Windows paths have single ones.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                value.extend(chars.next().map(|(_, escaped)| escaped));
            }
            c => value.push(c),
        }
    }
    (value, "")
}

fn malformed(problem: &str) -> Fault {
    Fault::new(
        Code::MalformedPOSTRequest,
        format!("The body of your POST request is not well-formed multipart/form-data: {problem}."),
    )
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    fn form(parts: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in parts {
            body.extend_from_slice(
                format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                    .as_bytes(),
            );
        }
        body.extend_from_slice(b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\a\\b.txt\"\r\nContent-Type: text/plain\r\n\r\n");
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--B--\r\n");
        body
    }

    async fn read(body: &[u8], piece: usize, file_max: usize) -> Result<(Fields, Bytes), Code> {
        let chunks: Vec<_> = body.chunks(piece.max(1)).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let mut reader = FormReader::new(stream::iter(chunks), "multipart/form-data; boundary=B").unwrap();
        let fields = reader.fields().await.map_err(|fault| fault.code)?;
        let file = reader.file(file_max).await.map_err(|fault| fault.code)?;
        Ok((fields, file))
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_form(file in prop::collection::vec(prop::sample::select(b"\r\n-B x".to_vec()), 0..60), piece in 1usize..50) {
            prop_assume!(!String::from_utf8_lossy(&file).contains("\r\n--B"));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let body = form(&[("Key", "a/${filename}"), ("policy", "p")], &file);
            let (fields, got) = runtime.block_on(read(&body, piece, 1000)).unwrap();
            prop_assert_eq!(got.as_ref(), file.as_slice());
            prop_assert_eq!(fields.get("key"), Some("a/${filename}"));
            prop_assert_eq!(fields.file_name.as_str(), "b.txt");
            prop_assert_eq!(fields.file_type.as_deref(), Some("text/plain"));
        }
    }

    #[tokio::test]
    async fn forms_have_bounds() {
        let check = |body: Vec<u8>, file_max, expected| async move {
            assert_eq!(read(&body, 1000, file_max).await.unwrap_err(), expected);
        };
        check(form(&[], &[b'x'; 100]), 99, Code::EntityTooLarge).await;
        check(form(&[("a", &"x".repeat(70_000))], b""), 9, Code::MaxMessageLengthExceeded).await;
        check(form(&[("a", "1"), ("A", "2")], b""), 9, Code::InvalidArgument).await;
        check(
            b"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nv\r\n--B--\r\n".to_vec(),
            9,
            Code::MalformedPOSTRequest,
        )
        .await;
        check(b"nothing".to_vec(), 9, Code::MalformedPOSTRequest).await;
        let names: Vec<String> = (0..200).map(|i| format!("n{i}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        check(form(&many, b""), 9, Code::MalformedPOSTRequest).await;
    }
}
