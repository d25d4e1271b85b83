//! The query of a request: names that a route knows, and no other.

use crate::answer::Refused;

/// What stands behind the `?`.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a query. A name that the route does not know is a slip, and refused.
    pub(crate) fn read(text: Option<&str>, known: &[&str]) -> Result<Self, Refused> {
        let text = text.unwrap_or_default().as_bytes();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(text).into_owned().collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Refused::bad_request(format!("unknown parameter {name:?}"))),
            None => Ok(Self { pairs }),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number between two bounds.
    pub(crate) fn number(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let wrong = || Refused::bad_request(format!("{name} must be a number from {least} to {most}"));
        number.map(Some).ok_or_else(wrong)
    }

    /// Whether a switch is on: `true`, `1`, or nothing behind its name.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool, Refused> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(Refused::bad_request(format!("{name} must be true or false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_slips_are_refused() {
        let query = Query::read(Some("key=a%2Fb+c%25&n=5&on"), &["key", "n", "on"]).unwrap();
        assert_eq!(query.get("key"), Some("a/b c%"));
        assert_eq!(query.number("n", 1, 5).unwrap(), Some(5));
        assert!(query.number("n", 1, 4).is_err() && query.number("key", 0, 9).is_err());
        assert!(query.is_on("on").unwrap() && query.is_on("key").is_err());
        assert!(Query::read(Some("kye=a"), &["key"]).is_err());
        assert!(!Query::read(None, &[]).unwrap().is_on("on").unwrap());
    }
}
