//! Reads an authorization from a request. Fields are read one by one, so that no error repeats a value.

use serde_json::{Map, Value};

use super::{ClientAuthentication, EMPTY_PASSWORD, Method, NewAuthorization, OAuth2, is_token};
use crate::attempt::target::TargetPolicy;
use crate::fault::FieldError;
use crate::signing::secret::WebhookSecret;

/// The texts that a field accepts.
struct Rule {
    min_bytes: usize,
    max_bytes: usize,
    takes: fn(&str) -> bool,
    /// The rule as shown in errors.
    of: &'static str,
}

const NAME: Rule = Rule { min_bytes: 1, max_bytes: 255, takes: is_line, of: "without control characters" };
const USERNAME: Rule = Rule {
    min_bytes: 0,
    max_bytes: 255,
    takes: |text| is_line(text) && !text.contains(':'),
    of: "without control characters or colons",
};
const PASSWORD: Rule = Rule { min_bytes: 0, ..SECRET };
const SECRET: Rule = Rule { min_bytes: 1, max_bytes: 4096, takes: is_line, of: "without control characters" };
const TOKEN: Rule = Rule { min_bytes: 1, max_bytes: 4096, takes: is_token, of: "of visible ASCII without spaces" };
const SCOPE: Rule = Rule {
    min_bytes: 1,
    max_bytes: 1024,
    takes: is_scope,
    of: r#"of visible ASCII except " and \, with single spaces in between"#,
};
const URL: Rule =
    Rule { min_bytes: 1, max_bytes: crate::attempt::target::MAX_URL_BYTES, takes: is_line, of: "with a valid URL" };

fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_scope(text: &str) -> bool {
    text.split(' ').all(|word| is_token(word) && !word.contains(['"', '\\']))
}

/// The fields that have not been read yet, and the faults of those that have.
struct Fields {
    given: Map<String, Value>,
    faults: Vec<FieldError>,
}

impl Fields {
    fn fault(&mut self, name: &str, detail: impl std::fmt::Display) {
        let name = name.replace('~', "~0").replace('/', "~1");
        self.faults.push(FieldError::new(&format!("/{name}"), detail));
    }

    fn optional(&mut self, name: &str, rule: &Rule) -> Option<String> {
        match self.given.remove(name)? {
            Value::Null => None,
            Value::String(text) if (rule.min_bytes..=rule.max_bytes).contains(&text.len()) && (rule.takes)(&text) => {
                Some(text)
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                let Rule { min_bytes, max_bytes, of, .. } = rule;
                self.fault(name, format!("must be a string of {min_bytes} to {max_bytes} bytes {of}"));
                // A placeholder. It is never used, because the fault rejects the request.
                Some(String::new())
            }
        }
    }

    fn needed(&mut self, name: &str, rule: &Rule) -> String {
        self.optional(name, rule).unwrap_or_else(|| {
            self.fault(name, "is required");
            String::new()
        })
    }

    fn client_authentication(&mut self) -> ClientAuthentication {
        let name = "client_authentication";
        match self.given.remove(name).as_ref().map(|value| (value, value.as_str())) {
            None | Some((Value::Null, _)) => ClientAuthentication::default(),
            Some((_, Some("basic"))) => ClientAuthentication::Basic,
            Some((_, Some("body"))) => ClientAuthentication::Body,
            Some(_) => {
                self.fault(name, "must be basic or body");
                ClientAuthentication::default()
            }
        }
    }
}

impl NewAuthorization {
    /// Reads an authorization from a request: the fields of its type and one secret.
    ///
    /// # Errors
    ///
    /// All faults, by field, without any values.
    pub fn read(input: Value, targets: &TargetPolicy) -> Result<Self, Vec<FieldError>> {
        let Value::Object(given) = input else { return Err(vec![FieldError::new("", "must be an object")]) };
        let mut fields = Fields { given, faults: Vec::new() };
        let kind = fields.given.remove("type");
        let (method, secret) = match kind.as_ref().and_then(Value::as_str) {
            Some("basic") => {
                let username = fields.needed("username", &USERNAME);
                let mut password = fields.needed("password", &PASSWORD);
                if password.is_empty() {
                    if username.is_empty() && fields.faults.is_empty() {
                        fields.fault("password", "must not be empty if `username` is empty too");
                    }
                    EMPTY_PASSWORD.clone_into(&mut password);
                }
                (Method::Basic { username }, password)
            }
            Some("bearer") => (Method::Bearer, fields.needed("token", &TOKEN)),
            Some("oauth2") => {
                let client = OAuth2 {
                    token_url: fields.needed("token_url", &URL),
                    client_id: fields.needed("client_id", &NAME),
                    scope: fields.optional("scope", &SCOPE),
                    audience: fields.optional("audience", &NAME),
                    client_authentication: fields.client_authentication(),
                };
                // Checked like a webhook's URL, because it is called with the same network access.
                if let Err(error) = targets.parse(&client.token_url)
                    && !client.token_url.is_empty()
                {
                    fields.fault("token_url", error);
                }
                (Method::OAuth2(client), fields.needed("client_secret", &SECRET))
            }
            _ => return Err(vec![FieldError::new("/type", "must be basic, bearer or oauth2")]),
        };
        let mut more: Vec<String> = fields.given.keys().cloned().collect();
        more.sort_unstable();
        for name in more {
            fields.fault(&name, "must be omitted; this type of authorization has no such field");
        }
        if fields.faults.is_empty() {
            Ok(Self { method, secret: WebhookSecret::checked(secret.into()) })
        } else {
            Err(fields.faults)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    fn oauth2(more: &Value) -> Value {
        let mut all =
            json!({"type": "oauth2", "token_url": "https://a.example/token", "client_id": "c", "client_secret": "s"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }

    fn faults(input: Value) -> Vec<String> {
        let read = NewAuthorization::read(input, &TargetPolicy::default());
        read.err().unwrap_or_default().into_iter().map(|fault| fault.pointer).collect()
    }

    #[rstest]
    #[case::basic(json!({"type": "basic", "username": "anna", "password": "p: ü"}), "p: ü")]
    #[case::basic_without_a_name(json!({"type": "basic", "username": "a", "password": "12345678"}), "12345678")]
    #[case::bearer(json!({"type": "bearer", "token": "1|a.b-c_~+/="}), "1|a.b-c_~+/=")]
    #[case::oauth2(oauth2(&json!({})), "s")]
    #[case::oauth2_with_everything(
        oauth2(&json!({"scope": "a b:c", "audience": "https://b.example/", "client_authentication": "body"})), "s")]
    #[case::nothing_is_said(oauth2(&json!({"scope": null, "audience": null, "client_authentication": null})), "s")]
    fn takes(#[case] input: Value, #[case] secret: &str) {
        let new = NewAuthorization::read(input, &TargetPolicy::default()).unwrap();
        assert_eq!(new.secret.to_text().expose_secret(), secret);
        assert!(!format!("{new:?}").contains(&format!("{secret:?}")));
        assert!(!serde_json::to_string(&new.method).unwrap().contains(&format!(":{secret:?}")));
    }

    /// Some APIs take a key as the user name or as the password, and nothing as the other.
    #[rstest]
    #[case::no_password("key", "", "Basic a2V5Og==")]
    #[case::no_user("", "key", "Basic OmtleQ==")]
    fn one_part_of_a_basic_authorization_may_be_empty(
        #[case] username: &str,
        #[case] password: &str,
        #[case] header: &str,
    ) {
        let input = json!({"type": "basic", "username": username, "password": password});
        let new = NewAuthorization::read(input, &TargetPolicy::default()).unwrap();
        let stored = new.secret.to_text();
        assert!(!stored.expose_secret().is_empty(), "Secrets Manager takes no empty text");
        assert_eq!(new.method.header(stored).unwrap().expose_secret(), header);
    }

    #[rstest]
    #[case::no_object(json!("s3cret"), &[""])]
    #[case::no_type(json!({"token": "s3cret"}), &["/type"])]
    #[case::unknown_type(json!({"type": "digest"}), &["/type"])]
    #[case::nothing_of_it(json!({"type": "basic"}), &["/username", "/password"])]
    #[case::colon(json!({"type": "basic", "username": "a:b", "password": "s3cret"}), &["/username"])]
    #[case::two_lines(json!({"type": "basic", "username": "a", "password": "s3cret\r\nX-A: b"}), &["/password"])]
    #[case::empty(json!({"type": "basic", "username": "", "password": ""}), &["/password"])]
    #[case::no_password(json!({"type": "basic", "username": ""}), &["/password"])]
    #[case::empty_token(json!({"type": "bearer", "token": ""}), &["/token"])]
    #[case::a_number(json!({"type": "basic", "username": "a", "password": 12_345_678}), &["/password"])]
    #[case::a_list(json!({"type": "bearer", "token": ["s3cret"]}), &["/token"])]
    #[case::spaces(json!({"type": "bearer", "token": "s3cret s3cret"}), &["/token"])]
    #[case::with_the_scheme(json!({"type": "bearer", "token": "Bearer s3cret"}), &["/token"])]
    #[case::too_long(json!({"type": "bearer", "token": "s".repeat(4097)}), &["/token"])]
    #[case::of_another_type(json!({"type": "bearer", "token": "t", "password": "s3cret", "a/b": 1}), &["/a~1b", "/password"])]
    #[case::plain_http(oauth2(&json!({"token_url": "http://a.example/token"})), &["/token_url"])]
    #[case::metadata(oauth2(&json!({"token_url": "https://169.254.169.254/token"})), &["/token_url"])]
    #[case::runtime_api(oauth2(&json!({"token_url": "https://127.0.0.1:9001/token"})), &["/token_url"])]
    #[case::secret_in_the_url(oauth2(&json!({"token_url": "https://c:s3cret@a.example/"})), &["/token_url"])]
    #[case::no_url(oauth2(&json!({"token_url": null})), &["/token_url"])]
    #[case::scope(oauth2(&json!({"scope": "a  b"})), &["/scope"])]
    #[case::scope_in_quotes(oauth2(&json!({"scope": "\"a\""})), &["/scope"])]
    #[case::client_authentication(oauth2(&json!({"client_authentication": "s3cret"})), &["/client_authentication"])]
    #[case::no_secret(oauth2(&json!({"client_secret": null})), &["/client_secret"])]
    fn names_the_invalid_field(#[case] input: Value, #[case] pointers: &[&str]) {
        assert_eq!(faults(input.clone()), pointers);
        let read = NewAuthorization::read(input, &TargetPolicy::default());
        let said = format!("{:?}", read.unwrap_err());
        assert!(!said.contains("s3cret") && !said.contains("12345678"), "{said}");
    }

    proptest! {
        #[test]
        fn accepted_values_are_valid_in_a_header(username in any::<String>(), password in any::<String>(), token in any::<String>()) {
            let inputs = [
                json!({"type": "basic", "username": username, "password": password}),
                json!({"type": "bearer", "token": token}),
            ];
            for input in inputs {
                if let Ok(new) = NewAuthorization::read(input, &TargetPolicy::default()) {
                    let header = new.method.header(new.secret.to_text()).unwrap();
                    prop_assert!(header.expose_secret().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
                }
            }
        }
    }
}
