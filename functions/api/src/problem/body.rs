//! The body of a problem.

use domain::budget::{Budget, Exceeded};
use jiff::Timestamp;
use runtime::Version;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Fault, Problem};

#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    problem: runtime::problem::Problem,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
    #[serde(flatten)]
    budget: Option<BudgetDetails>,
    #[serde(flatten)]
    deployed: Option<Deployed>,
}

/// Which version is deployed.
#[derive(Serialize)]
struct Deployed {
    version: &'static str,
    commit: &'static str,
}

/// Which budget is used up.
#[derive(Serialize)]
struct BudgetDetails {
    budget: Budget,
    used: u64,
    needed: u64,
    limit: u64,
    resets_at: Timestamp,
}

/// The body of every error: [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457), `application/problem+json`.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes the schema of Details, whose parts are borrowed")]
pub struct ProblemBody {
    /// `urn:dynahook:problem:<name>`; docs/problems has a page for each.
    #[schema(examples("urn:dynahook:problem:invalid"))]
    r#type: String,
    /// The title, which is the same for every problem of this type.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// The page that explains problems of this type, relative to this server.
    #[schema(examples("/docs/problems/invalid"))]
    help: String,
    /// Each invalid field, parameter or header.
    errors: Option<Vec<Fault>>,
    /// For `budget-exceeded`: which budget is used up.
    budget: Option<Budget>,
    /// How much of it is used.
    used: Option<u64>,
    /// How much the request needs.
    needed: Option<u64>,
    /// The limit of the budget.
    limit: Option<u64>,
    /// When the budget is available again.
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Timestamp>,
    /// For `/health`: the version of Dynahook.
    version: Option<String>,
    /// The git commit that it was built from.
    commit: Option<String>,
}

impl From<&Exceeded> for BudgetDetails {
    fn from(exceeded: &Exceeded) -> Self {
        let Exceeded { budget, used, needed, limit, resets_at, .. } = *exceeded;
        Self { budget, used, needed, limit, resets_at }
    }
}

/// Serializes the problem document alone, for responses that contain several.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, code, title) = self.code();
        let errors = if let Self::Invalid(faults) = self { faults.as_slice() } else { &[] };
        let details = Details {
            problem: runtime::problem::Problem::new(status.as_u16(), code, title, self.to_string()),
            errors,
            budget: if let Self::Budget(exceeded) = self { Some(BudgetDetails::from(&**exceeded)) } else { None },
            deployed: if let Self::Unreadable { version: Version { number: version, commit }, .. } = *self {
                Some(Deployed { version, commit })
            } else {
                None
            },
        };
        details.serialize(serializer)
    }
}
