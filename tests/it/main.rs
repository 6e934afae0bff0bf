//! End to end, against the deployed stack: `make test` brings it up.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod access;
mod answers;
mod api;
mod api_function;
mod api_keys;
mod authorization;
mod authorizer;
mod breaker;
mod crash;
mod dead_letters;
mod deliveries;
mod delivery;
mod egress_addresses;
mod events;
mod expiry;
mod fanout;
mod inbound;
mod jobs;
mod ledger;
mod loops;
mod move_tasks;
mod operational;
mod ordering;
mod rates;
mod recursion;
mod secrets;
mod signatures;
mod slices;
mod source_failures;
mod sweep;
mod tenancy;
mod trial;
mod usage;
mod webhooks;
mod weight;
