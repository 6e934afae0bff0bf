//! Portal links: each opens the console of one tenant or application for a while, without an account at the issuer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::api_key::ends_at;
use super::origin::Origin;
use super::tenant::{AppId, TenantId};
use crate::fault::FieldError;
use crate::id::PortalLinkId;

/// For how long a link may be valid, in seconds.
pub const MIN_SECONDS: u32 = 60;
/// See [`MIN_SECONDS`].
pub const MAX_SECONDS: u32 = 24 * 3600;

/// For how long a link is valid by default, in seconds.
pub const DEFAULT_SECONDS: u32 = 3600;

/// The longest name of a theme, in characters.
const MAX_NAME_CHARACTERS: usize = 100;

/// The longest URL of a logo, in bytes.
const MAX_LOGO_BYTES: usize = 2000;

/// A portal link, without the key in its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalLink {
    /// Its id. The key has the same ULID.
    pub id: PortalLinkId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The application to which it is limited. Without one, it shows the whole tenant.
    pub app: Option<AppId>,
    /// Whether it may only read: it then has the role of a viewer, and otherwise that of an admin.
    pub read_only: bool,
    /// How the page looks.
    pub theme: Option<Theme>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The subject of the token that created it.
    pub created_by: String,
    /// When it ends, in whole seconds.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl PortalLink {
    /// Returns whether the link is valid at that time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at > now
    }

    /// Returns when a link that is revoked now stops working, as [`ApiKey::ends_at`](super::api_key::ApiKey::ends_at)
    /// does.
    #[must_use]
    pub fn ends_at(&self, revoked_at: Timestamp) -> Timestamp {
        ends_at(Some(self.expires_at), revoked_at)
    }
}

/// Returns when a link ends that is created now, in whole seconds, as the table keeps it.
#[must_use]
pub fn expiry(now: Timestamp, seconds: u32) -> Timestamp {
    Timestamp::from_second(now.as_second().saturating_add(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// Whether the page is light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PortalThemeMode)]
pub enum Mode {
    /// Always light.
    Light,
    /// Always dark.
    Dark,
    /// As the browser prefers; people may change it.
    #[default]
    Auto,
}

/// How the console looks when it is opened with a portal link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PortalTheme)]
pub struct Theme {
    /// The name of your product, which the page shows in place of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, examples("Acme"))]
    pub name: Option<String>,
    /// A logo, which the page shows 28 pixels high. It must be on one of the origins in the deployment's parameter
    /// `PortalOrigins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000, examples("https://app.example.com/logo.svg"))]
    pub logo_url: Option<String>,
    /// The color of links and buttons. The page makes it darker or lighter where it would be hard to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^#[0-9a-fA-F]{6}$", examples("#0a7d5a"))]
    pub accent_color: Option<String>,
    /// Whether the page is light or dark. Default: `auto`.
    #[serde(default)]
    pub mode: Mode,
}

impl Theme {
    /// Returns all faults; empty if the theme is valid.
    #[must_use]
    pub fn check(&self, origins: &[Origin]) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let is_name = |name: &String| !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARACTERS;
        if !self.name.as_ref().is_none_or(is_name) {
            faults.push(FieldError::new("/name", format!("must be 1 to {MAX_NAME_CHARACTERS} characters")));
        }
        if let Some(fault) = self.logo_url.as_deref().and_then(|url| logo_fault(url, origins)) {
            faults.push(FieldError::new("/logo_url", fault));
        }
        if !self.accent_color.as_deref().is_none_or(is_color) {
            faults.push(FieldError::new("/accent_color", "must be a color of the form #rrggbb, such as #0a7d5a"));
        }
        faults
    }
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|one| one.is_ascii_hexdigit()))
}

/// Returns why the page cannot load a logo, if it cannot.
fn logo_fault(text: &str, origins: &[Origin]) -> Option<&'static str> {
    if text.len() > MAX_LOGO_BYTES {
        return Some("must be at most 2000 bytes");
    }
    let Ok(url) = text.parse::<Url>() else {
        return Some("must be an absolute URL such as https://app.example.com/logo.svg");
    };
    if !["https", "http"].contains(&url.scheme()) || (url.scheme() == "http" && Origin::of(&url).is_none()) {
        return Some("must start with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not contain a user name or a password");
    }
    if Origin::of(&url).is_some_and(|origin| origins.contains(&origin)) {
        return None;
    }
    Some(if origins.is_empty() {
        "cannot be set, because this deployment loads no logos; ask its operator to add the logo's origin to the \
         parameter PortalOrigins"
    } else {
        "must be on one of the origins in the deployment's parameter PortalOrigins; ask its operator to add the logo's \
         origin"
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn link(expires_at: i64, revoked_at: Option<i64>) -> PortalLink {
        PortalLink {
            id: PortalLinkId::from_parts(at(0), 1),
            tenant: "acme".parse().unwrap(),
            app: None,
            read_only: true,
            theme: None,
            created_at: at(0),
            created_by: "anna".to_owned(),
            expires_at: at(expires_at),
            revoked_at: revoked_at.map(at),
        }
    }

    #[rstest]
    #[case::valid(link(11, None), true)]
    #[case::over(link(10, None), false)]
    #[case::revoked(link(100, Some(9)), false)]
    fn ends(#[case] link: PortalLink, #[case] good: bool) {
        assert_eq!(link.is_good(at(10)), good);
    }

    #[rstest]
    #[case::lasts_longer(1000, 70)]
    #[case::ends_before(40, 40)]
    fn a_revoked_link_opens_nothing_after_a_minute(#[case] expires: i64, #[case] ends: i64) {
        assert_eq!(link(expires, None).ends_at(at(10)), at(ends));
    }

    #[test]
    fn ends_in_a_whole_second() {
        let now = Timestamp::from_millisecond(1_999).unwrap();
        assert_eq!(expiry(now, 60), at(61));
    }

    #[rstest]
    #[case::nothing(json!({}), &[])]
    #[case::all(json!({"name": "Acme", "logo_url": "https://app.example/a/logo.svg?v=1", "accent_color": "#0A7d5a",
        "mode": "dark"}), &[])]
    #[case::local(json!({"logo_url": "http://localhost:5173/logo.svg"}), &[])]
    #[case::default_port(json!({"logo_url": "https://APP.example:443/logo.svg"}), &[])]
    #[case::empty_name(json!({"name": " "}), &["/name"])]
    #[case::long_name(json!({"name": "é".repeat(101)}), &["/name"])]
    #[case::longest_name(json!({"name": "é".repeat(100)}), &[])]
    #[case::relative(json!({"logo_url": "/logo.svg"}), &["/logo_url"])]
    #[case::http(json!({"logo_url": "http://app.example/logo.svg"}), &["/logo_url"])]
    #[case::script(json!({"logo_url": "javascript:alert(1)"}), &["/logo_url"])]
    #[case::data(json!({"logo_url": "data:image/svg+xml,x"}), &["/logo_url"])]
    #[case::another_origin(json!({"logo_url": "https://evil.example/logo.svg"}), &["/logo_url"])]
    #[case::another_port(json!({"logo_url": "https://app.example:8443/logo.svg"}), &["/logo_url"])]
    #[case::user(json!({"logo_url": "https://anna@app.example/logo.svg"}), &["/logo_url"])]
    #[case::long_url(json!({"logo_url": format!("https://app.example/{}", "a".repeat(2000))}), &["/logo_url"])]
    #[case::word(json!({"accent_color": "red"}), &["/accent_color"])]
    #[case::short_color(json!({"accent_color": "#fff"}), &["/accent_color"])]
    #[case::no_color(json!({"accent_color": "#00000g"}), &["/accent_color"])]
    #[case::style(json!({"accent_color": "#000000;}"}), &["/accent_color"])]
    #[case::everything(json!({"name": "", "logo_url": "x", "accent_color": ""}), &["/name", "/logo_url", "/accent_color"])]
    fn each_fault_is_named(#[case] theme: Value, #[case] pointers: &[&str]) {
        let theme: Theme = serde_json::from_value(theme).unwrap();
        let origins = ["https://app.example", "http://localhost:5173"].map(|origin| origin.parse().unwrap());
        let faults = theme.check(&origins);
        assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), pointers);
    }

    #[test]
    fn a_logo_needs_the_parameter() {
        let theme = Theme { logo_url: Some("https://app.example/logo.svg".to_owned()), ..Theme::default() };
        for origins in [&[][..], &["https://other.example".parse().unwrap()]] {
            assert!(theme.check(origins)[0].detail.contains("PortalOrigins"));
        }
    }
}
