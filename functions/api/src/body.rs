//! JSON in: strictly, and with errors that name the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use domain::value::object::from_object;
use domain::value::{Map, Value};
use http_body::Body as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use crate::problem::{Fault, Problem};

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// A JSON body of the type `T`: an object.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        parse_object(&bytes(request).await?).map(Self)
    }
}

/// A JSON body of any kind, as it was written.
#[derive(Debug)]
pub(crate) struct RawBody(pub(crate) Box<RawValue>);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        parse(&bytes(request).await?).map(Self)
    }
}

async fn bytes(request: Request) -> Result<Bytes, Problem> {
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    bytes.map_err(|_| Problem::TooLarge(MAX_BODY_BYTES))
}

/// What is read from an object, and from nothing else.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Object<T>(#[serde(deserialize_with = "from_object")] T);

/// Reads a JSON object.
pub(crate) fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    parse(bytes).map(|Object(value)| value)
}

/// Reads JSON. The one way that keeps the letters of what is taken as it stands: numbers with more digits than 64 bits hold.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match error.inner().classify() {
            Category::Data => Problem::Invalid(vec![fault(&error)]),
            Category::Io | Category::Syntax | Category::Eof => Problem::Malformed(error.into_inner().to_string()),
        })?;
    deserializer.end().map_err(|error| Problem::Malformed(error.to_string()))?;
    Ok(value)
}

/// Reads an object, for a field of a body.
pub(crate) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    match raw.get().parse() {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) => Err(serde::de::Error::custom("must be an object")),
        Err(_) => Err(serde::de::Error::custom("is too deep, or has a text that is none")),
    }
}

/// Reads an object or `null`.
pub(crate) fn optional_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Map>, D::Error> {
    #[derive(Deserialize)]
    struct Object(#[serde(deserialize_with = "object")] Map);
    Ok(Option::<Object>::deserialize(deserializer)?.map(|Object(map)| map))
}

/// A JSON body of the type `T`, or its default if there is none.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        // `null` is a body, and says the same.
        let value: Option<Object<T>> = parse(&bytes(request).await?)?;
        Ok(Self(value.map(|Object(value)| value).unwrap_or_default()))
    }
}

/// Reads a JSON value that came in with a body, or in part.
pub(crate) fn typed<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| fault(&error))
}

/// Fields whose values no error repeats. A body as a whole is another one: it may be a secret that should have been in a field.
const SECRETS: [&str; 5] = ["secret", "token", "password", "client_secret", "authorization"];

/// Names the field, and says what it must be.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let (pointer, detail) = (pointer(error.path()), in_words_of_json(&without_position(error.inner())));
    let names_secret = pointer.rsplit('/').next().is_some_and(|name| name.is_empty() || SECRETS.contains(&name));
    let detail = if names_secret { without_value(&detail) } else { detail };
    let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match missing {
        Some(field) => Fault::field(&format!("{pointer}{}", step(field)), "is missing"),
        None => Fault::field(&pointer, detail),
    }
}

/// Query parameters of the type `T`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                let detail = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                // The library says `name: what is wrong`.
                let (name, detail) = detail.split_once(": ").unwrap_or(("", &detail));
                Err(Problem::Invalid(vec![Fault::parameter(name, detail)]))
            }
        }
    }
}

/// Returns the path as a JSON pointer.
fn pointer(path: &Path) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => step(key),
        Segment::Enum { variant } => step(variant),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

/// Returns the step of a JSON pointer to a field of that name.
pub(crate) fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A position means nothing where the field is named.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned()
}

/// Leaves the value out of what is wrong with its type.
fn without_value(detail: &str) -> String {
    let Some((found, expected)) = detail.rsplit_once(", expected ") else { return detail.to_owned() };
    let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
    format!("{kind}, expected {expected}")
}

/// What is wrong with a type is told in serde's words, which are of Rust.
fn in_words_of_json(detail: &str) -> String {
    let Some((found, expected)) = detail.rsplit_once(", expected ") else { return detail.to_owned() };
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295, without a fraction",
        "u64" | "usize" => "a whole number from 0 to 18446744073709551615, without a fraction",
        "a sequence" => "an array",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    let words = [("floating point", "number"), ("integer", "number"), ("sequence", "array"), ("map", "object")];
    let named = ["invalid type: ", "invalid value: "].iter().find_map(|what| {
        let rest = found.strip_prefix(what)?;
        words.iter().find_map(|(rust, json)| Some(format!("{what}{json}{}", rest.strip_prefix(rust)?)))
    });
    format!("{}, expected {expected}", named.as_deref().unwrap_or(found))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(deserialize_with = "object")]
        data: Map,
        #[serde(default, deserialize_with = "optional_object")]
        old: Option<Map>,
    }

    fn read(text: &str) -> Result<Body, String> {
        parse(text.as_bytes()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = r#"{"n":12345678901234567890123456789012345678,"x":1.50}"#;
        let body = read(&format!(r#"{{"data": {text}, "old": {text}}}"#)).unwrap();
        assert_eq!(serde_json::to_string(&body.data).unwrap(), text);
        assert_eq!(body.old, Some(body.data));
        let whole: Box<RawValue> = parse(b" [1.50] ").unwrap();
        assert_eq!(whole.get(), "[1.50]");
        assert_eq!(read(r#"{"data": {}, "old": null}"#).unwrap().old, None);
    }

    #[rstest]
    #[case::no_object(r#"{"data": []}"#, "#/data must be an object")]
    #[case::none(r#"{"data": null}"#, "#/data must be an object")]
    #[case::half_a_character(r#"{"data": {"a": "\ud800"}}"#, "#/data is too deep, or has a text that is none")]
    #[case::missing("{}", "#/data is missing")]
    #[case::cut_off(r#"{"data": {"#, "the body is not JSON: EOF while parsing an object at line 1 column 10")]
    fn what_is_none_is_named(#[case] text: &str, #[case] detail: &str) {
        assert_eq!(read(text).unwrap_err(), detail);
    }

    #[rstest]
    #[case::fraction(json!({"count": 60.0}), "#/count invalid type: number `60.0`, expected a whole number from 0 to 4294967295, without a fraction")]
    #[case::negative(json!({"count": -1}), "#/count invalid value: number `-1`, expected a whole number from 0 to 4294967295, without a fraction")]
    #[case::large(json!({"count": 4_294_967_296_u64}), "#/count invalid value: number `4294967296`, expected a whole number from 0 to 4294967295, without a fraction")]
    #[case::text(json!({"count": "integer, expected u32"}), "#/count invalid type: string \"integer, expected u32\", expected a whole number from 0 to 4294967295, without a fraction")]
    #[case::object(json!({"list": {}}), "#/list invalid type: object, expected an array")]
    #[case::array(json!({"inner": [1]}), "#/inner invalid type: array, expected an object")]
    #[case::other_value(json!({"inner": {"one": "b"}}), "#/inner/one unknown variant `b`, expected `a`")]
    fn a_type_is_told_in_words_of_json(#[case] body: serde_json::Value, #[case] detail: &str) {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Typed {
            count: u32,
            list: Vec<u32>,
            #[serde(deserialize_with = "from_object")]
            inner: Inner,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Inner {
            one: One,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum One {
            #[default]
            A,
        }
        assert_eq!(parse::<Typed>(body.to_string().as_bytes()).unwrap_err().to_string(), detail);
    }

    #[rstest]
    #[case::number(json!({"secret": 4_815_162_342_i64}), "#/secret invalid type: number, expected a string")]
    #[case::fraction(json!({"inner": {"client_secret": 4_815_162_342.5}}), "#/inner/client_secret invalid type: number, expected a string")]
    #[case::text_as_body(json!("whsec_4815162342, expected"), "# invalid type: string, expected an object")]
    #[case::text_for_an_object(json!({"authorization": "4815162342"}), "#/authorization invalid type: string, expected an object")]
    #[case::no_secret(json!({"name": 7}), "#/name invalid type: number `7`, expected a string")]
    fn no_error_repeats_a_secret(#[case] body: serde_json::Value, #[case] detail: &str) {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Typed {
            name: String,
            secret: String,
            #[serde(deserialize_with = "from_object")]
            inner: Inner,
            #[serde(deserialize_with = "from_object")]
            authorization: Inner,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Inner {
            client_secret: String,
        }
        let read = parse_object::<Typed>(body.to_string().as_bytes());
        let read = read.map(|Typed { name, secret, inner, authorization }| {
            [name, secret, inner.client_secret, authorization.client_secret]
        });
        assert_eq!(read.unwrap_err().to_string(), detail);
    }

    #[tokio::test]
    async fn a_body_that_may_be_absent_is_an_object_if_it_is_there() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Pace {
            rate: u32,
        }
        let read = async |text: &'static str| {
            let request = Request::new(axum::body::Body::from(text));
            let body = OptionalJson::<Pace>::from_request(request, &()).await;
            body.map(|OptionalJson(Pace { rate })| rate).map_err(|problem| problem.to_string())
        };
        assert_eq!([read("").await, read("null").await, read("{}").await], [Ok(0), Ok(0), Ok(0)]);
        assert_eq!(read(r#"{"rate": 7}"#).await, Ok(7));
        assert_eq!(read("[]").await.unwrap_err(), "# invalid type: array, expected an object");
        assert_eq!(
            read(r#"{"rate": "7"}"#).await.unwrap_err(),
            "#/rate invalid type: string \"7\", expected a whole number from 0 to 4294967295, without a fraction"
        );
    }
}
