//! Which etcd can be relied on for what.

use std::fmt;

/// A version of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Reads `3.5.26`, with or without what may follow. None when it is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-', '+']).map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }

    /// Whether a notification of progress comes after everything that it covers, and watches lose nothing when
    /// they are starved (fixed in 3.4.31 and 3.5.13).
    pub(crate) fn progress_can_be_trusted(self) -> bool {
        self >= version(3, 5, 13) || (self >= version(3, 4, 31) && self < version(3, 5, 0))
    }

    /// Whether a deletion at the very revision of a compaction is kept for watches (fixed in 3.4.36, 3.5.18).
    pub(crate) fn keeps_deletion_at_compaction(self) -> bool {
        self >= version(3, 5, 18) || (self >= version(3, 4, 36) && self < version(3, 5, 0))
    }

    /// What the operator should know, one sentence each.
    pub(crate) fn warnings(self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self >= version(3, 5, 0) && self < version(3, 5, 3) {
            warnings.push(format!(
                "etcd {self} can lose data when it crashes under load: upgrade before anything else"
            ));
        }
        if !self.progress_can_be_trusted() {
            warnings.push(format!(
                "etcd {self} may claim progress too early and lose events of starved watches: progress is not used; \
                 upgrade to 3.5.26, 3.6 or later"
            ));
        } else if self < version(3, 5, 26) {
            warnings.push(format!("etcd {self} is old: 3.5.26, 3.6 or later is recommended"));
        }
        warnings
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn version(major: u32, minor: u32, patch: u32) -> Version {
    Version { major, minor, patch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_trusted_as_far_as_it_goes() {
        for (text, progress, deletion, warnings) in [
            ("3.4.23", false, false, 1),
            ("3.4.30", false, false, 1),
            ("3.4.31", true, false, 1),
            ("3.4.36", true, true, 1),
            ("3.5.1", false, false, 2),
            ("3.5.12", false, false, 1),
            ("3.5.13", true, false, 1),
            ("3.5.26", true, true, 0),
            ("3.6.0", true, true, 0),
            ("3.7.1-rc.0", true, true, 0),
        ] {
            let version = Version::parse(text).expect("a version");
            assert_eq!(version.progress_can_be_trusted(), progress, "{text}");
            assert_eq!(version.keeps_deletion_at_compaction(), deletion, "{text}");
            assert_eq!(version.warnings().len(), warnings, "{text}");
        }
        assert_eq!(Version::parse("3.4"), None);
        assert_eq!(Version::parse("new"), None);
    }
}
