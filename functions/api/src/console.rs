//! The pages for browsers: the console, which shows and changes webhooks, and the reference, which shows the contract in
//! Swagger UI. Their files are in this binary (`build/console.rs`), and they call the public API only.

use std::io::{self, Read as _};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::App;
use crate::cacheable::cacheable;
use crate::problem::Problem;

include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// A file of a page.
struct File {
    name: &'static str,
    kind: &'static str,
    /// A hash of the content.
    version: &'static str,
    /// The compressed content.
    gzip: &'static [u8],
}

impl File {
    /// Returns the content, for the few clients that do not take it compressed.
    fn plain(&self) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzDecoder::new(self.gzip).read_to_end(&mut plain)?;
        Ok(plain)
    }
}

/// A file that is requested by its version never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Any other file is asked for each time, and sent only if it changed.
const CHECKED: HeaderValue = HeaderValue::from_static("no-cache");

/// The version of a file that a page names.
#[derive(Deserialize)]
struct Version {
    v: Option<String>,
}

/// Returns the routes.
pub(crate) fn routes() -> Router<Arc<App>> {
    let routes = Router::new()
        .route("/console", get(page))
        .route("/console/config.json", get(config))
        .route("/console/{*file}", get(file))
        .route("/docs", get(async |headers: HeaderMap| send("reference.html", None, &headers)));
    cacheable(routes)
}

async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut response = send("index.html", None, &headers);
    response.headers_mut().extend(
        HeaderValue::from_str(&app.sign_in.policy()).ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)),
    );
    response
}

async fn config(State(app): State<Arc<App>>) -> Response {
    ([(header::CACHE_CONTROL, CHECKED)], Json(&app.sign_in)).into_response()
}

async fn file(Path(name): Path<String>, Query(version): Query<Version>, headers: HeaderMap) -> Response {
    send(&name, version.v.as_deref(), &headers)
}

fn send(name: &str, version: Option<&str>, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Problem::NotFound("file").into_response();
    };
    let cache = if version == Some(file.version) { FOREVER } else { CHECKED };
    let kind = HeaderValue::from_static(file.kind);
    let vary = HeaderValue::from_static("accept-encoding");
    let headers_of_file = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache), (header::VARY, vary)];
    if takes_gzip(headers) {
        return (headers_of_file, [(header::CONTENT_ENCODING, "gzip")], file.gzip).into_response();
    }
    match file.plain() {
        Ok(plain) => (headers_of_file, plain).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Returns whether a client takes compressed responses. One that takes them with a weight of its own gets them plain.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|encoding| encoding.trim() == "gzip")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn content(name: &str) -> (String, &'static str) {
        let file = FILES.iter().find(|file| file.name == name).unwrap();
        (String::from_utf8(file.plain().unwrap()).unwrap(), file.version)
    }

    #[rstest]
    #[case::console("index.html", &["icon.svg", "main.js", "style.css"])]
    #[case::reference("reference.html", &["icon.svg", "reference.js", "vendor/swagger-ui-bundle.js", "vendor/swagger-ui.css"])]
    fn a_page_names_its_files_by_their_versions(#[case] page: &str, #[case] names: &[&str]) {
        let (page, _) = content(page);
        for name in names {
            let (_, version) = content(name);
            assert!(page.contains(&format!("\"console/{name}?v={version}\"")), "{page}");
        }
        assert_eq!(page.matches("?v=").count(), names.len(), "{page}");
        // The policy forbids scripts in the page, and nothing comes from another host.
        assert!(!page.contains("<script>") && !page.contains("//"), "{page}");
    }

    #[test]
    fn the_console_needs_no_style_in_its_page_and_no_modules() {
        let (page, _) = content("index.html");
        assert!(!page.contains("<style") && !page.contains("style="), "{page}");
        for name in ["main.js", "style.css"] {
            let (text, _) = content(name);
            assert!(!text.lines().any(|line| line.starts_with("import {") || line.starts_with("export ")), "{name}");
        }
    }

    #[test]
    fn a_first_load_is_small() {
        let first = ["index.html", "main.js", "style.css", "icon.svg", "vendor/uplot.js"];
        let compressed = |name| FILES.iter().find(|file| file.name == name).unwrap().gzip.len();
        let size: usize = first.into_iter().map(compressed).sum();
        assert!(size < 150_000, "{size} bytes");
    }

    #[rstest]
    #[case::by_its_version(true, "public, max-age=31536000, immutable")]
    #[case::without(false, "no-cache")]
    fn only_a_version_is_kept(#[case] named: bool, #[case] cache: &str) {
        let script = FILES.iter().find(|file| file.name == "main.js").unwrap();
        let response = send("main.js", named.then_some(script.version), &HeaderMap::new());
        assert_eq!(response.headers()[header::CACHE_CONTROL], cache);
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        // After a deployment, an open page asks for the version before: it gets the new file, and keeps neither.
        assert_eq!(send("main.js", Some("0"), &HeaderMap::new()).headers()[header::CACHE_CONTROL], "no-cache");
        let compressed = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"))]);
        assert_eq!(send("main.js", None, &compressed).headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(send("../Cargo.toml", None, &HeaderMap::new()).status(), 404);
    }
}
