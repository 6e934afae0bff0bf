//! The documentation for those who use a deployment, as HTML. Problems, warnings and failed attempts link to it. The pages
//! are in this binary (`build/help.rs`) and need no token.

use axum::Router;
use axum::extract::Path;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use domain::attempt::outcome::Verdict;

use crate::cacheable::cacheable;
use crate::problem::Problem;

include!(concat!(env!("OUT_DIR"), "/help.rs"));

/// Returns the routes.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let routes = Router::new()
        .route("/docs/guides", get(async || page("guides")))
        .route("/docs/problems", get(async || page("problems")))
        .route(
            "/docs/{folder}/{name}",
            get(async |Path((folder, name)): Path<(String, String)>| page(&format!("{folder}/{name}"))),
        );
    cacheable(routes)
}

fn page(path: &str) -> Response {
    match PAGES.iter().find(|(of_page, _)| *of_page == path) {
        Some((_, html)) => Html(*html).into_response(),
        None => Problem::NotFound("page").into_response(),
    }
}

/// Returns where a failed attempt is explained.
pub(crate) fn of_verdict(verdict: Verdict) -> Option<String> {
    (verdict != Verdict::Accepted).then(|| format!("/docs/use/verdicts#{}", verdict.as_str()))
}

/// Returns where a warning is explained.
pub(crate) fn of_warning(code: &str) -> String {
    format!("/docs/use/warnings#{code}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use rstest::rstest;
    use tower::ServiceExt as _;

    use super::*;

    fn anchors(path: &str) -> BTreeSet<&'static str> {
        let (_, html) = PAGES.iter().find(|(page, _)| *page == path).unwrap();
        html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }

    /// The values are those of the contract, so that later ones are explained too.
    #[rstest]
    #[case::verdicts("use/verdicts", "AttemptVerdict")]
    #[case::warnings("use/warnings", "WarningCode")]
    fn each_value_is_explained(#[case] page: &str, #[case] schema: &str) {
        let contract = serde_json::to_value(crate::openapi()).unwrap();
        let values = contract["components"]["schemas"][schema]["enum"].as_array().unwrap();
        let (found, title) = (anchors(page), page.split('/').next_back().unwrap());
        assert_eq!(found, values.iter().map(|value| value.as_str().unwrap()).chain([title]).collect());
    }

    #[test]
    fn every_link_leads_to_a_page() {
        for (path, html) in PAGES {
            for link in html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if target.is_empty() { format!("/docs/{path}") } else { target.to_owned() };
                let known = match target.strip_prefix("/docs/") {
                    Some(page) => {
                        let found = PAGES.iter().any(|(of_page, _)| *of_page == page);
                        found && (anchor.is_empty() || anchors(page).contains(anchor))
                    }
                    None => {
                        ["/console", "/console/icon.svg", "/docs"].contains(&target.as_str())
                            || target.starts_with("https://")
                    }
                };
                assert!(known, "{path} links to {link}");
            }
            assert!(!html.contains("{title}") && !html.contains("{content}"), "{path}");
        }
    }

    #[rstest]
    #[case::problem("/docs/problems/invalid", 200, "urn:dynahook:problem:invalid · Dynahook")]
    #[case::all_problems("/docs/problems", 200, "href=\"/docs/problems/invalid\"")]
    #[case::verdicts("/docs/use/verdicts", 200, "<h2 id=\"timed_out\">timed_out</h2>")]
    #[case::links("/docs/use/verdicts", 200, "href=\"/docs/use/deliveries#dead-letters\"")]
    #[case::guides("/docs/guides", 200, "href=\"/docs/use/webhooks\"")]
    #[case::other_pages_are_named_and_not_linked(
        "/docs/guides",
        200,
        "<strong>Change the code</strong>: Architecture, "
    )]
    #[case::warnings("/docs/use/warnings", 200, "<h2 id=\"no_url\">")]
    #[case::unknown("/docs/problems/none", 404, "there is no such page")]
    #[tokio::test]
    async fn a_page_is_served(#[case] path: &str, #[case] status: u16, #[case] part: &str) {
        let answer = routes().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
        let body = String::from_utf8(to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
        assert!(body.contains(part), "{body}");
    }
}
