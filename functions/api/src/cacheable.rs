//! Responses that are the same for all callers. They are compressed and can be cached, so that repeated requests are
//! cheap.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use tower_http::compression::CompressionLayer;

/// The default `cache-control`: five minutes, because the content may change with a deployment.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Compresses the routes' responses and adds entity tags.
pub(crate) fn cacheable<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(from_fn(tag)).layer(CompressionLayer::new())
}

/// Adds an entity tag that is derived from the content. Answers 304 if the caller has this content already.
async fn tag(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if !is_read || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    // A weak tag, because the compressed and the uncompressed response share it.
    let tag = format!("W/\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
    let is_known = known.as_ref().and_then(|known| known.to_str().ok()).is_some_and(|known| {
        known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == &tag[2..])
    });
    parts.headers.entry(header::CACHE_CONTROL).or_insert(CACHE);
    parts.headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use axum::http::request::Builder;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(headers: &[(header::HeaderName, &str)]) -> Response {
        let routes = Router::new()
            .route("/page", get(async || "a page, and no short one. ".repeat(1_000)))
            .route("/keys", get(async || ([(header::CACHE_CONTROL, "no-cache")], "{}")));
        let request = Request::get(if headers.is_empty() { "/keys" } else { "/page" });
        let request = headers.iter().fold(request, |request: Builder, (name, value)| request.header(name, *value));
        cacheable(routes).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_page_is_compressed_and_sent_once() {
        let plain = ask(&[(header::ACCEPT, "*/*")]).await;
        let tag = plain.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(plain.headers()[header::CACHE_CONTROL], CACHE);
        assert!(plain.headers().get(header::CONTENT_ENCODING).is_none());
        let length = async |response: Response| to_bytes(response.into_body(), usize::MAX).await.unwrap().len();
        assert_eq!(length(plain).await, 26_000);
        let small = ask(&[(header::ACCEPT_ENCODING, "gzip")]).await;
        assert_eq!(
            (&small.headers()[header::CONTENT_ENCODING], &small.headers()[header::ETAG]),
            (&HeaderValue::from_static("gzip"), &HeaderValue::from_str(&tag).unwrap())
        );
        assert!(small.headers()[header::VARY].to_str().unwrap().contains("accept-encoding"));
        assert!(length(small).await < 1_000);
        for known in [tag.as_str(), &tag[2..], "*", &format!("\"other\", {tag}")] {
            let again = ask(&[(header::IF_NONE_MATCH, known)]).await;
            assert_eq!(
                (again.status(), again.headers()[header::ETAG].to_str().unwrap()),
                (StatusCode::NOT_MODIFIED, tag.as_str())
            );
            assert_eq!(length(again).await, 0);
        }
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"other\"")]).await.status(), StatusCode::OK);
        assert_eq!(ask(&[]).await.headers()[header::CACHE_CONTROL], "no-cache", "what is said is kept");
    }
}
