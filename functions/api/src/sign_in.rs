//! How people sign in to the console, what its page may therefore call, and which pages may show it.

use std::iter;

use axum::http::Uri;
use domain::access::origin::Origin;
use serde::Serialize;

/// How people sign in to the console.
#[derive(Debug, Clone, Serialize)]
pub struct SignIn {
    /// The issuer of tokens.
    pub issuer: String,
    /// The audience of tokens.
    pub audience: String,
    /// The console's id at the issuer; without it, people paste a token.
    pub client_id: Option<String>,
    /// The scope that the console asks for.
    pub scope: String,
    /// Further origins that the console calls to sign in, such as that of the token endpoint.
    #[serde(skip)]
    pub origins: Vec<String>,
    /// The origins of pages that may show the console in a frame, and of logos.
    #[serde(skip)]
    pub portal_origins: Vec<Origin>,
}

impl SignIn {
    /// Returns the policy of the page: files and the API of this origin, and the issuer if people sign in there. Portal
    /// origins may show the page in a frame, and it loads logos from them.
    pub(crate) fn policy(&self) -> String {
        let issuer = self.issuer.parse::<Uri>().ok();
        let issuer = issuer.and_then(|issuer| Some(format!("{}://{}", issuer.scheme()?, issuer.authority()?)));
        let origins = issuer.iter().chain(&self.origins).filter(|_| self.client_id.is_some());
        let allowed = iter::once("'self'").chain(origins.map(String::as_str)).collect::<Vec<_>>().join(" ");
        let portals = self.portal_origins.iter().map(Origin::as_str);
        let pictures = iter::once("'self'").chain(portals.clone()).collect::<Vec<_>>().join(" ");
        let frames = portals.collect::<Vec<_>>().join(" ");
        let frames = if frames.is_empty() { "'none'" } else { &frames };
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; connect-src {allowed}; \
             base-uri 'none'; form-action 'none'; frame-ancestors {frames}"
        )
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::token_only("https://issuer.example/tenant", None, "connect-src 'self';")]
    #[case::issuer(
        "https://issuer.example/t",
        Some("c"),
        "connect-src 'self' https://issuer.example https://l.example;"
    )]
    #[case::port(
        "http://127.0.0.1:9000/realm",
        Some("c"),
        "connect-src 'self' http://127.0.0.1:9000 https://l.example;"
    )]
    #[case::no_url("our tokens", Some("c"), "connect-src 'self' https://l.example;")]
    fn the_page_may_call_the_issuer(#[case] issuer: &str, #[case] client: Option<&str>, #[case] allowed: &str) {
        let sign_in = SignIn {
            issuer: issuer.to_owned(),
            audience: "dynahook".to_owned(),
            client_id: client.map(str::to_owned),
            scope: "openid".to_owned(),
            origins: vec!["https://l.example".to_owned()],
            portal_origins: Vec::new(),
        };
        let policy = sign_in.policy();
        assert!(policy.contains(allowed) && !policy.contains("unsafe"), "{policy}");
    }

    #[rstest]
    #[case::none(&[], "img-src 'self';", "frame-ancestors 'none'")]
    #[case::two(
        &["https://a.example", "http://localhost:5173"],
        "img-src 'self' https://a.example http://localhost:5173;",
        "frame-ancestors https://a.example http://localhost:5173"
    )]
    fn portals_may_show_the_page_and_have_logos(
        #[case] origins: &[&str],
        #[case] pictures: &str,
        #[case] frames: &str,
    ) {
        let sign_in = SignIn {
            issuer: "https://issuer.example".to_owned(),
            audience: "dynahook".to_owned(),
            client_id: None,
            scope: "openid".to_owned(),
            origins: Vec::new(),
            portal_origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        };
        let policy = sign_in.policy();
        assert!(policy.contains(pictures) && policy.ends_with(frames), "{policy}");
        assert!(policy.contains("script-src 'self'; style-src 'self';"), "{policy}");
        let config = serde_json::to_string(&sign_in).unwrap();
        assert!(!config.contains("a.example"), "pages need not know the operator's other products: {config}");
    }
}
