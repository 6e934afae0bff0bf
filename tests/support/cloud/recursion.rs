//! Imitates Lambda's detection of recursive loops.
//!
//! Lambda counts how often a function was invoked in one chain of requests, in the lineage of the trace header: Lambda
//! extends it, the SDK passes it on, and a queue keeps it with the message. After about 16 invocations it refuses the
//! next one, unless the function's `RecursiveLoop` is `Allow`. DynamoDB streams and schedules start new chains.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::letter::Letter;
use super::tables::template;

/// The function that every queue of a [`Cloud`](super::Cloud) invokes, by its logical id in the template.
pub const DELIVER: &str = "DeliverFunction";

/// The number of invocations in one chain after which Lambda assumes a loop.
const MOST_INVOCATIONS: u32 = 16;

/// Returns how often a function was invoked in the chain of a trace header.
#[must_use]
pub fn invocations(function: &str, trace: Option<&str>) -> u32 {
    lineage(trace).get(function).copied().unwrap_or(0)
}

/// Returns the trace header with which Lambda invokes a function for a batch: the longest chain of its messages, plus
/// this invocation.
#[must_use]
pub fn invoked(function: &str, letters: &[Letter]) -> String {
    let traces = letters.iter().map(|letter| letter.trace.as_deref());
    let mut lineage = lineage(traces.max_by_key(|trace| invocations(function, *trace)).flatten());
    *lineage.entry(function.to_owned()).or_default() += 1;
    let lineage: Vec<_> = lineage.iter().map(|(function, count)| format!("{function}:{count}")).collect();
    format!("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=d6bae06f8dfc4cbf;Sampled=0;Lineage={}", lineage.join("|"))
}

fn lineage(trace: Option<&str>) -> BTreeMap<String, u32> {
    let parts = trace.unwrap_or_default().split(';').find_map(|part| part.strip_prefix("Lineage="));
    let counts = parts.unwrap_or_default().split('|').filter_map(|part| part.split_once(':'));
    counts.map(|(function, count)| (function.to_owned(), count.parse().unwrap())).collect()
}

/// Returns whether Lambda refuses one more invocation in a chain as a loop.
pub(super) fn is_refused(trace: Option<&str>) -> bool {
    invocations(DELIVER, trace) >= MOST_INVOCATIONS && !allows_loops(DELIVER)
}

/// Returns whether the template allows recursive invocations of a function.
#[must_use]
pub fn allows_loops(function: &str) -> bool {
    template()["Resources"][function]["Properties"]["RecursiveLoop"] == "Allow"
}

/// Returns the functions of the template that may send to a queue that invokes them, directly or through other
/// functions.
#[must_use]
pub fn in_loops() -> BTreeSet<String> {
    let resources = template()["Resources"].as_object().unwrap();
    let reference = |value: &Value| value.as_str().and_then(|text| text.strip_suffix(".Arn")).map(str::to_owned);
    let mut sends: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    let mut invokes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, resource) in resources {
        let properties = &resource["Properties"];
        match resource["Type"].as_str().unwrap_or_default() {
            "AWS::Lambda::EventSourceMapping" => {
                let function = properties["FunctionName"].as_str().unwrap().to_owned();
                invokes
                    .extend(reference(&properties["EventSourceArn"]).map(|queue| (queue, BTreeSet::from([function]))));
            }
            "AWS::Serverless::Function" => {
                let role = reference(&properties["Role"]).unwrap();
                let policies = resources[&role]["Properties"]["Policies"].as_array().into_iter().flatten();
                let statements = policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
                let queues = statements.filter(|statement| many(&statement["Action"]).contains("sqs:SendMessage"));
                let queues = queues.flat_map(|statement| many(&statement["Resource"]));
                sends.insert(name, queues.filter_map(|arn| arn.strip_suffix(".Arn").map(str::to_owned)).collect());
            }
            _ => {}
        }
    }
    let next = |function: &String| -> BTreeSet<String> {
        let queues = sends.get(function).into_iter().flatten();
        queues.filter_map(|queue| invokes.get(queue)).flatten().cloned().collect()
    };
    let reaches_itself = |function: &&String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![(*function).clone()]);
        while let Some(one) = open.pop() {
            open.extend(next(&one).into_iter().filter(|next| seen.insert(next.clone())));
        }
        seen.contains(*function)
    };
    sends.keys().copied().filter(reaches_itself).cloned().collect()
}

/// Reads one text or a list of texts.
fn many(value: &Value) -> BTreeSet<String> {
    if let Some(all) = value.as_array() {
        return all.iter().flat_map(many).collect();
    }
    value.as_str().map(str::to_owned).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(trace: Option<&str>) -> Letter {
        let trace = trace.map(str::to_owned);
        Letter {
            id: 1,
            body: String::new(),
            message: None,
            due: jiff::Timestamp::UNIX_EPOCH,
            receives: 0,
            group: None,
            cause: None,
            trace,
        }
    }

    #[test]
    fn a_chain_grows_by_each_invocation_and_a_batch_is_of_its_longest() {
        let first = invoked(DELIVER, &[letter(None), letter(Some("Root=1-2-3"))]);
        assert_eq!(invocations(DELIVER, Some(&first)), 1);
        let second = invoked(DELIVER, &[letter(None), letter(Some(&first))]);
        assert_eq!(invocations(DELIVER, Some(&second)), 2);
        assert_eq!(invocations("Other", Some("Root=1-2-3;Lineage=Deliver:9|Other:4;Sampled=0")), 4);
    }

    /// Lambda stops a function that sends to its own queue after 16 invocations, unless the template allows it. Deliver
    /// does so for retries, drained chains, and lines of deliveries that wait for a slot. Any other function in a loop
    /// is a mistake.
    #[test]
    fn the_functions_in_loops_are_those_that_may_be() {
        assert_eq!(in_loops(), BTreeSet::from([DELIVER.to_owned()]));
        let functions = template()["Resources"].as_object().unwrap().keys();
        let allowed: BTreeSet<String> = functions.filter(|name| allows_loops(name)).cloned().collect();
        assert_eq!(allowed, in_loops());
    }
}
