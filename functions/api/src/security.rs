//! Response headers that restrict what browsers and caches may do with every response.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use runtime::headers::SECURITY;

/// The policy for pages. Swagger UI loads its files, the contract and the API from this origin only, and sets inline
/// styles.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// What a policy says that forbids frames.
const NO_FRAMES: &str = "frame-ancestors 'none'";

/// Sets the headers. Responses of the API may contain a tenant's data or a secret, so no cache may store them unless
/// the route sets `cache-control`. Other routes set that header themselves.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().contains("/api/v1/");
    let mut response = next.run(request).await;
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let headers = response.headers_mut();
    // That of the console names the issuer, and the origins of pages that may show it in a frame. `X-Frame-Options`
    // cannot name origins.
    let policy = headers.get(header::CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok());
    let (has_policy, may_be_framed) = (policy.is_some(), policy.is_some_and(|policy| !policy.contains(NO_FRAMES)));
    for (name, value) in SECURITY {
        let name = HeaderName::from_static(name);
        let is_replaced = (has_policy && name == header::CONTENT_SECURITY_POLICY)
            || (may_be_framed && name == header::X_FRAME_OPTIONS);
        if !is_replaced {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if is_page && !has_policy {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    }
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::response::Html;
    use axum::routing::{get, post};
    use rstest::rstest;
    use tower::ServiceExt as _;

    use super::*;
    use crate::problem::Problem;

    const CONSOLE: &str = "script-src 'self'; frame-ancestors 'none'";
    const FRAMED: &str = "script-src 'self'; frame-ancestors https://app.example.com";

    #[rstest]
    #[case::console("/console", CONSOLE, true)]
    #[case::framed("/framed", FRAMED, false)]
    #[tokio::test]
    async fn a_page_with_a_policy_of_its_own_may_be_framed_only_if_that_says_so(
        #[case] path: &str,
        #[case] policy: &str,
        #[case] is_denied: bool,
    ) {
        let answer = router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-security-policy"], policy);
        assert_eq!(answer.headers().contains_key("x-frame-options"), is_denied);
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }

    fn router() -> Router {
        Router::new()
            .route("/api/v1/integration/api-keys", post(async || (StatusCode::CREATED, "secret")))
            .route("/api/v1/integration/kept", get(async || ([(header::CACHE_CONTROL, "max-age=60")], "kept")))
            .route("/docs", get(async || Html("page")))
            .route("/console", get(async || ([(header::CONTENT_SECURITY_POLICY, CONSOLE)], Html("page"))))
            .route("/framed", get(async || ([(header::CONTENT_SECURITY_POLICY, FRAMED)], Html("page"))))
            .route("/keys", get(async || ([(header::CACHE_CONTROL, "public, max-age=300")], "keys")))
            .fallback(async || Problem::NotFound("path"))
            .layer(from_fn(layer))
    }

    #[rstest]
    #[case::secret("POST", "/api/v1/integration/api-keys", Some("no-store"))]
    #[case::says_itself("GET", "/api/v1/integration/kept", Some("max-age=60"))]
    #[case::problem("GET", "/prod/api/v1/integration/nothing", Some("no-store"))]
    #[case::page("GET", "/docs", None)]
    #[case::public_keys("GET", "/keys", Some("public, max-age=300"))]
    #[case::wrong_method("PUT", "/docs", None)]
    #[tokio::test]
    async fn every_answer_has_them(#[case] method: &str, #[case] path: &str, #[case] cache: Option<&str>) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = router().oneshot(request).await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        for (name, value) in SECURITY.into_iter().filter(|(name, _)| *name != "content-security-policy") {
            assert_eq!(header(name).as_deref(), Some(value), "{name}");
        }
        let policy = header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
        let runs_scripts = policy.contains("script-src 'self'");
        assert_eq!(runs_scripts, path == "/docs" && method == "GET", "{policy}");
        assert_eq!(header("cache-control").as_deref(), cache);
    }
}
