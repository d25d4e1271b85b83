//! `${NAME}` in values.
//!
//! Only values are expanded, each once and after YAML was understood: a variable can never change
//! the structure of the file, and what it holds is taken as it is.

/// A value after expansion.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// A `$NAME` without braces was left alone; the Go program would have replaced it.
    pub(crate) bare_dollar: bool,
}

/// Why a value cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExpandError {
    /// The variable is not set.
    Unset(String),
    /// `${` that is not followed by a name and `}`.
    NotAName,
}

/// Replaces each `${NAME}`. `$${` stands for a literal `${`, any other `$` for itself.
pub(crate) fn expand(raw: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, ExpandError> {
    let mut text = String::with_capacity(raw.len());
    let mut bare_dollar = false;
    let mut rest = raw;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            text.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = after.split_once('}').ok_or(ExpandError::NotAName)?;
            if !is_name(name) {
                return Err(ExpandError::NotAName);
            }
            text.push_str(&env(name).ok_or_else(|| ExpandError::Unset(name.to_owned()))?);
            rest = after;
        } else {
            let after = &rest[1..];
            bare_dollar |= after.starts_with(go_would_expand);
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    Ok(Expanded { text, bare_dollar })
}

/// Whether this is a name that an environment variable can have in a configuration file.
pub(crate) fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn go_would_expand(next: char) -> bool {
    next.is_ascii_alphanumeric() || "_*#$@!?-".contains(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, text: &str, bare_dollar: bool) {
        let env = |name: &str| match name {
            "HOME" => Some("/home".to_owned()),
            "NESTED" => Some("${HOME} $HOME".to_owned()),
            _ => None,
        };
        let expanded = expand(raw, &env);
        assert_eq!(expanded, Ok(Expanded { text: text.to_owned(), bare_dollar }), "{raw}");
    }

    #[test]
    fn braces_are_replaced_once() {
        check("${HOME}/data", "/home/data", false);
        check("a${HOME}${HOME}b", "a/home/homeb", false);
        check("${NESTED}", "${HOME} $HOME", false);
    }

    #[test]
    fn n121_a_dollar_of_its_own_stays_as_written() {
        check("$2y$10$abc", "$2y$10$abc", true);
        check("pa$HOME", "pa$HOME", true);
        check("costs 5$", "costs 5$", false);
        check("a$/b$+", "a$/b$+", false);
    }

    #[test]
    fn two_dollars_escape_a_brace() {
        check("$${HOME}", "${HOME}", false);
        check("x$${not a name", "x${not a name", false);
    }

    #[test]
    fn what_cannot_be_expanded_is_refused() {
        let env = |_: &str| None;
        assert_eq!(expand("${MISSING}", &env), Err(ExpandError::Unset("MISSING".to_owned())));
        for raw in ["${", "${}", "${A-b}", "${X:-y}", "${1A}"] {
            assert_eq!(expand(raw, &env), Err(ExpandError::NotAName), "{raw}");
        }
    }
}
