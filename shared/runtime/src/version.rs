//! The version of a binary.

use std::fmt;

/// The version of a binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// That of the crates, such as `0.1.0`.
    pub number: &'static str,
    /// The first twelve digits of the git commit that the binary was built from, with `-modified` if tracked files had
    /// changes. `unknown` if it was built without a git repository.
    pub commit: &'static str,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{}", self.number, self.commit)
    }
}

/// Returns the [`Version`]. For `main.rs` only: the crate that calls it is compiled again after each commit, which
/// should be no library.
#[macro_export]
macro_rules! version {
    () => {
        $crate::Version {
            number: env!("CARGO_PKG_VERSION"),
            // Without tags, so that it always names a commit.
            commit: $crate::git_version!(
                args = ["--always", "--exclude=*", "--abbrev=12", "--dirty=-modified"],
                fallback = "unknown"
            ),
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_a_commit_or_says_that_there_is_none() {
        let version = crate::version!();
        assert_eq!(version.number, env!("CARGO_PKG_VERSION"));
        let commit = version.commit.trim_end_matches("-modified");
        let is_commit = commit.len() >= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_commit || version.commit == "unknown", "{version}");
        assert_eq!(version.to_string(), format!("{}+{}", version.number, version.commit));
    }
}
