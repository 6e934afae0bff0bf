//! Tenants and applications.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Returns whether a text consists of letters, digits and `_ . @ + = -`, which are valid in both a Secrets Manager path
/// and a partition key. `.` and `..` are not names: URL paths that contain them lead elsewhere.
fn is_name(text: &str, max_characters: usize) -> bool {
    (1..=max_characters).contains(&text.len())
        && ![".", ".."].contains(&text)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@+=-".contains(&byte))
}

/// The text is not a valid name of a tenant or an application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {max_characters} characters of A-Z a-z 0-9 _ . @ + = -, and not only one or two dots")]
pub struct NameError {
    /// How long the name may be.
    pub max_characters: usize,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $max:literal;)+) => {$(
        $(#[$doc])*
        ///
        #[doc = concat!("1 to ", $max, " characters of `A-Z a-z 0-9 _ . @ + = -`.")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if is_name(&text, $max) { Ok(Self(text)) } else { Err(NameError { max_characters: $max }) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// The company or organization that a webhook belongs to.
    TenantId, 128;
    /// An application: a client of the tenant with tokens of its own. SuperOffice's application tokens have up to 200
    /// characters.
    AppId, 200;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::word("acme", true)]
    #[case::uuid("7b2f1f0e-3b1c-4b44-9f0b-0f6f0a5a2f11", true)]
    #[case::empty("", false)]
    #[case::dot(".", false)]
    #[case::two_dots("..", false)]
    #[case::three_dots("...", true)]
    #[case::separator_of_keys("acme#globex", false)]
    #[case::path("acme/globex", false)]
    #[case::accent("acmé", false)]
    fn says_what_a_tenant_is(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(text.parse::<TenantId>().is_ok(), valid);
    }

    #[test]
    fn an_application_may_have_a_longer_name_than_a_tenant() {
        let of = |length: usize| "a".repeat(length);
        assert!(of(128).parse::<TenantId>().is_ok() && of(200).parse::<AppId>().is_ok());
        let refused = [of(129).parse::<TenantId>().unwrap_err(), of(201).parse::<AppId>().unwrap_err()];
        assert_eq!(refused.map(|error| error.max_characters), [128, 200]);
    }

    proptest! {
        /// Table keys are joined with `#` and secret paths with `/`, so a name with either could be read as two names
        /// or as part of another.
        #[test]
        fn keys_and_paths_of_different_names_differ(one in ("[a#/.%@-]{1,4}", "[a#/.%@-]{1,4}"), other in ("[a#/.%@-]{1,4}", "[a#/.%@-]{1,4}")) {
            let names = |(tenant, app): &(String, String)| {
                Some((tenant.parse::<TenantId>().ok()?, app.parse::<AppId>().ok()?))
            };
            if let (Some((tenant, app)), Some((other_tenant, other_app))) = (names(&one), names(&other)) {
                for separator in ['#', '/'] {
                    let key = format!("{tenant}{separator}{app}");
                    prop_assert_eq!(key == format!("{other_tenant}{separator}{other_app}"), one == other);
                }
            }
        }
    }
}
