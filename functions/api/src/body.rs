//! Reads JSON bodies and query parameters strictly. Errors name the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use domain::value::object::from_object;
use domain::value::{Map, Value};
use http_body::Body as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::problem::{Fault, Problem};
use crate::read::{document, raw, read, read_query};

/// The size limit of a body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// A JSON body of the type `T`, which must be an object.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        parse_object(&bytes(request).await?).map(Self)
    }
}

/// Any JSON body, as the text that was sent.
#[derive(Debug)]
pub(crate) struct RawBody(pub(crate) Box<RawValue>);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        raw(&bytes(request).await?).map(Self)
    }
}

async fn bytes(request: Request) -> Result<Bytes, Problem> {
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    bytes.map_err(|_| Problem::TooLarge(MAX_BODY_BYTES))
}

/// A type that is read only from an object. serde's derived code would also accept an array, field by field.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Object<T>(#[serde(deserialize_with = "from_object")] T);

/// Reads a JSON object. An error lists all faults.
pub(crate) fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    parse(bytes).map(|Object(value)| value)
}

/// Reads JSON. An error lists all faults. Numbers keep their digits in fields whose type keeps them.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    read(document(bytes)?).finish()
}

/// Reads a body that is an object of any fields. Numbers keep their digits.
pub(crate) fn parse_map(bytes: &[u8]) -> Result<Map, Problem> {
    match document(bytes)? {
        Value::Map(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) => {
            Err(Problem::Invalid(vec![Fault::field("", "must be an object")]))
        }
    }
}

/// Reads a field that must be an object.
pub(crate) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    match raw.get().parse() {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) => Err(serde::de::Error::custom("must be an object")),
        Err(_) => Err(serde::de::Error::custom("is nested too deeply or has an invalid escape sequence")),
    }
}

/// Reads a field that must be an object or `null`.
pub(crate) fn optional_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Map>, D::Error> {
    #[derive(Deserialize)]
    struct Object(#[serde(deserialize_with = "object")] Map);
    Ok(Option::<Object>::deserialize(deserializer)?.map(|Object(map)| map))
}

/// A JSON object of the type `T`, or the type's default if there is no body.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        // `null` means the same as no body.
        let value: Option<Object<T>> = parse(&bytes(request).await?)?;
        Ok(Self(value.map(|Object(value)| value).unwrap_or_default()))
    }
}

/// Query parameters of the type `T`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let parameters = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(parameters) = parameters.map_err(|error| Problem::Malformed(error.body_text()))?;
        let (value, faults) = read_query(parameters).into_parts();
        match value {
            Some(value) if faults.is_empty() => Ok(Self(value)),
            _ => Err(Problem::Invalid(faults.into_iter().map(Fault::from_parameter).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

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
        assert_eq!(read("\u{feff}{\"data\": {}}").unwrap().data, Map::new(), "after a byte order mark");
    }

    #[rstest]
    #[case::no_object(r#"{"data": []}"#, "#/data must be an object")]
    #[case::none(r#"{"data": null}"#, "#/data must be an object")]
    #[case::half_a_character(
        r#"{"data": {"a": "\ud800"}}"#,
        "the body is not JSON: it is nested more than 100 levels deep, or a string has an invalid escape sequence"
    )]
    #[case::missing("{}", "#/data is required")]
    #[case::cut_off(r#"{"data": {"#, "the body is not JSON: EOF while parsing an object at line 1 column 10")]
    fn an_invalid_body_is_refused_with_the_reason(#[case] text: &str, #[case] detail: &str) {
        assert_eq!(read(text).unwrap_err(), detail);
    }

    #[test]
    fn an_object_of_any_fields_has_one_meaning() {
        let read = |text: &str| parse_map(text.as_bytes()).map_err(|problem| problem.to_string());
        let text = r#"{"n":12345678901234567890123456789012345678,"x":1.50}"#;
        assert_eq!(serde_json::to_string(&read(&format!("\u{feff}{text}")).unwrap()).unwrap(), text);
        assert_eq!(read(r#"{"a": 1, "b": {"c": 1, "c": 2}}"#).unwrap_err(), "#/b/c is given twice; send it once");
        assert_eq!(read("[]").unwrap_err(), "# must be an object");
    }

    #[tokio::test]
    async fn a_raw_body_may_begin_with_a_byte_order_mark() {
        let request = Request::new(axum::body::Body::from("\u{feff}[1.50]"));
        let RawBody(body) = RawBody::from_request(request, &()).await.unwrap();
        assert_eq!(body.get(), "[1.50]");
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
        assert_eq!(read("[]").await.unwrap_err(), "# must be an object or null, not an array");
        assert_eq!(
            read(r#"{"rate": "7"}"#).await.unwrap_err(),
            "#/rate must be a whole number from 0 to 4294967295, not a string"
        );
    }
}
