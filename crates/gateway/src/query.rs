//! The parameters of a request's query.

use crate::error::{Code, Fault, Outcome};
use crate::percent;

/// Decoded parameters, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, Option<String>)>);

impl Query {
    /// Reads the part of a URI behind its `?`.
    pub(crate) fn parse(text: Option<&str>) -> Outcome<Self> {
        let mut parameters = Vec::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (pair, None),
            };
            let decode = |text| percent::decode(text, true).ok_or(Fault::from(Code::InvalidURI));
            let value = value.map(decode).transpose()?;
            parameters.push((decode(name)?.into_owned(), value.map(|text| text.into_owned())));
        }
        Ok(Self(parameters))
    }

    /// Whether there is a parameter of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The value of that name; empty where it has none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_deref().unwrap_or_default())
    }

    /// The value of that name, where it is not empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A page size: absent is `most`, more is `most`.
    pub(crate) fn page_size(&self, name: &str, most: u32) -> Outcome<u32> {
        let Some(text) = self.filled(name) else { return Ok(most) };
        match text.parse::<i32>() {
            Ok(number) => match u32::try_from(number) {
                Ok(number) => Ok(number.min(most)),
                Err(_) => Err(invalid(name, text, "is negative")),
            },
            Err(_) => Err(invalid(name, text, "is not an integer")),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Outcome<Option<u32>> {
        let Some(text) = self.filled(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(name, text, "is not a number in range"))
    }

    /// A part number, 1 to 10,000.
    pub(crate) fn part_number(&self) -> Outcome<Option<u32>> {
        let Some(text) = self.get("partNumber") else { return Ok(None) };
        match text.parse() {
            Ok(number @ 1..=10_000) => Ok(Some(number)),
            _ => Err(invalid("partNumber", text, "is not an integer between 1 and 10000")),
        }
    }

    /// All parameters.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

fn invalid(name: &str, value: &str, problem: &str) -> Fault {
    Fault::argument(format!("{name} {problem}"))
        .with_detail("ArgumentName", name)
        .with_detail("ArgumentValue", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).unwrap()
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("acl&prefix=a+b%2Fc&empty=&&x=%E9%8D%B5");
        assert!(query.has("acl"));
        assert_eq!(query.get("prefix"), Some("a b/c"));
        assert_eq!((query.get("empty"), query.filled("empty")), (Some(""), None));
        assert_eq!(query.get("x"), Some("鍵"));
        assert!(Query::parse(Some("a=%zz")).is_err());
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert_eq!(query("").page_size("max-keys", 1000).unwrap(), 1000);
        assert_eq!(query("max-keys=0").page_size("max-keys", 1000).unwrap(), 0);
        assert_eq!(query("max-keys=5000").page_size("max-keys", 1000).unwrap(), 1000);
        for text in ["max-keys=-1", "max-keys=x", "max-keys=99999999999", "max-keys=1.5"] {
            let fault = query(text).page_size("max-keys", 1000).unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn part_numbers_are_one_to_ten_thousand() {
        assert_eq!(query("partNumber=10000").part_number().unwrap(), Some(10_000));
        for text in ["partNumber=0", "partNumber=10001", "partNumber=", "partNumber", "partNumber=-1"] {
            assert!(query(text).part_number().is_err(), "{text}");
        }
    }
}
