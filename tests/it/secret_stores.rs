//! The suite of secrets, against the emulator: in Secrets Manager, and in a table under a key of KMS.

use std::sync::Arc;

use aws::Secrets;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use domain::time::Clock;
use domain::webhook::SecretsTable;
use jiff::Timestamp;
use rstest::rstest;
use tests::{Stack, secret_suite};

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        tests::now()
    }
}

/// Returns the secrets; with `in_table` in a table of the tests, because the stack's are in Secrets Manager.
async fn secrets(in_table: bool) -> Secrets {
    let stack = Stack::connect().await;
    if !in_table {
        return stack.aws.secrets();
    }
    let name = "secrets-of-tests";
    let mut create = stack.dynamodb.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let definition = AttributeDefinition::builder().attribute_name(attribute);
        let definition = definition.attribute_type(ScalarAttributeType::S).build().unwrap();
        let element = KeySchemaElement::builder().attribute_name(attribute).key_type(kind).build().unwrap();
        create = create.attribute_definitions(definition).key_schema(element);
    }
    if let Err(error) = create.send().await {
        let exists = error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception);
        assert!(exists, "{error:?}");
    }
    let table = SecretsTable { name: name.to_owned(), key_arn: stack.output("TestsKeyArn").to_owned() };
    stack.aws.secrets_in(Some(table), Arc::new(Wall))
}

macro_rules! over_both {
    ($($name:ident),* $(,)?) => {$(
        #[rstest]
        #[case::secrets_manager(false)]
        #[case::kms(true)]
        #[tokio::test]
        #[ignore = "needs the stack of `make test`"]
        async fn $name(#[case] in_table: bool) {
            secret_suite::$name(&secrets(in_table).await).await;
        }
    )*};
}

tests::each_secret_test!(over_both);
