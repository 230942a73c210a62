//! Module files with streams of a case's own, made of the one in `examples/orders`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Case, Text};
use statefun_kinesis_types::StreamArn;

/// The module that the example's readers see.
const MODULE: &str = include_str!("../../../../examples/orders/localstack.yaml");

/// The example's module: two streams in, of which the first goes to two functions, and one out.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) orders: StreamArn,
    pub(crate) returns: StreamArn,
    pub(crate) notifications: StreamArn,
    pub(crate) module: String,
}

impl Orders {
    /// Makes the streams, and writes the module for them.
    pub(crate) async fn new(case: &Case) -> Result<Self> {
        let (orders, returns, notifications) =
            futures::try_join!(case.stream("orders", 3), case.stream("returns", 2), case.stream("notifications", 3))?;
        let module = replaced(
            MODULE,
            &[
                ("http://localhost:4566", &case.environment().endpoint),
                ("orders-stream", orders.name().as_str()),
                ("returns-stream", returns.name().as_str()),
                ("notifications-stream", notifications.name().as_str()),
            ],
        )?;
        Ok(Self { orders, returns, notifications, module })
    }
}

/// A module of one ingress with one stream and one function, and one egress if there is a stream for it.
pub(crate) fn simple(case: &Case, startup: &str, from: &StreamArn, to: Option<&StreamArn>) -> String {
    let place = place(case);
    let mut module = format!(
        "kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: example/in\n{place}  startupPosition:\n    {startup}\n  \
         streams:\n    - stream: {}\n      streamArn: {from}\n      valueType: example/Value\n      targets:\n        - \
         example/fn\n",
        from.name(),
    );
    if let Some(to) = to {
        module.push_str(&format!(
            "---\nkind: io.statefun.kinesis.v1/egress\nspec:\n  id: example/out\n{place}  streamName: {}\n",
            to.name(),
        ));
    }
    module
}

/// Where the streams of a case are, for the `spec` of an ingress or an egress.
pub(crate) fn place(case: &Case) -> String {
    place_at(&case.environment().endpoint)
}

/// The same for an endpoint that is another way to them.
pub(crate) fn place_at(endpoint: &str) -> String {
    format!(
        "  awsRegion:\n    type: custom-endpoint\n    endpoint: {endpoint}\n    id: {}\n  awsCredentials:\n    type: basic\n    \
         accessKeyId: test\n    secretAccessKey: test\n",
        Case::REGION,
    )
}

/// A text with other words in it. Each has to be there: a template that changed must not leave a case without a sense.
pub(crate) fn replaced(template: &str, words: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (word, by) in words {
        ensure!(text.contains(word), "the template has no `{word}`");
        text = text.replace(word, by);
    }
    Ok(text)
}

/// The first records of the example's input.
pub(crate) fn order_records(count: usize) -> Result<Vec<Text>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/orders/orders.jsonl");
    let file = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let records = file.lines().take(count).map(|line| {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let field = |name| line[name].as_str().with_context(|| format!("{line} has no `{name}`"));
        Ok(Text::new(field("partitionKey")?, field("data")?))
    });
    let records = records.collect::<Result<Vec<_>>>()?;
    ensure!(records.len() == count, "{} has {} records", path.display(), records.len());
    Ok(records)
}

/// Records of a few keys, each with its number as payload.
pub(crate) fn numbered(from: usize, to: usize) -> Vec<Text> {
    (from..to).map(|number| Text::new(format!("key-{}", number % 7), number.to_string())).collect()
}
