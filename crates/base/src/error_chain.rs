//! An error and its sources on one line.

use std::error::Error;
use std::fmt;

/// Displays an error followed by its sources, joined by `: `, each said once.
///
/// ```
/// use shoal_base::error_chain::chain;
/// let error = std::io::Error::other("disk on fire");
/// assert_eq!(chain(&error).to_string(), "disk on fire");
/// ```
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the cache")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("request refused: {0}")]
    struct Repeats(#[source] std::io::Error);

    #[test]
    fn sources_follow_their_error() {
        let error = Outer(std::io::Error::other("read-only file system"));
        assert_eq!(chain(&error).to_string(), "cannot open the cache: read-only file system");
    }

    #[test]
    fn a_source_already_said_is_not_said_again() {
        let error = Repeats(std::io::Error::other("no route"));
        assert_eq!(chain(&error).to_string(), "request refused: no route");
    }
}
