//! `examples/counter`: functions of the published SDKs, over HTTP, in another process.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, per_key, until};
use statefun_kinesis_types::StreamArn;

use super::functions::{FunctionServer, Language};
use super::template::replaced;

const MODULE: &str = include_str!("../../../../examples/counter/module.yaml");
const KEYS: usize = 5;

/// The example with streams of a case's own, its functions served in a language.
pub(crate) struct Counter {
    pub(crate) commands: StreamArn,
    pub(crate) results: StreamArn,
    pub(crate) functions: FunctionServer,
    pub(crate) module: String,
    pub(crate) variables: HashMap<&'static str, String>,
}

impl Counter {
    pub(crate) async fn new(case: &Case, language: Language, shards: usize) -> Result<Self> {
        let (commands, results) = futures::try_join!(case.stream("commands", shards), case.stream("results", shards))?;
        let module = replaced(
            MODULE,
            &[("counter.commands", commands.name().as_str()), ("counter.results", results.name().as_str())],
        )?;
        let (file, text) = match language {
            Language::Python => ("functions.py", include_str!("../../../../examples/counter/functions.py")),
            Language::JavaScript => ("functions.js", include_str!("../../../../examples/counter/functions.js")),
        };
        let file = case.file(file, &replaced(text, &[("counter.results", results.name().as_str())])?)?;
        let functions = FunctionServer::start(case.environment(), language, &file).await?;
        let variables = HashMap::from([
            ("FUNCTIONS_URL", functions.url()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", Case::REGION.to_owned()),
        ]);
        Ok(Self { commands, results, functions, module, variables })
    }
}

/// A command that adds one to the counter of this key: a message of protocol buffers with the number 1, of 64 bits, in
/// field 1.
pub(crate) fn add_one(key: String) -> Text {
    Text::new(key, "\t\u{1}\0\0\0\0\0\0\0")
}

pub(crate) fn add(suite: &mut Suite) {
    for (language, name) in Language::each(suite, |name| format!("counter::{name}_functions_count_and_may_be_killed")) {
        suite.program_case(&name, async move |case: &Case| functions_count(case, language).await);
    }
}

/// Each command adds one, so that the results of a key are 1, 2, 3 and so on up to the number of its commands, in this
/// order and each once: a call that nobody answered has changed nothing, and is made again.
async fn functions_count(case: &Case, language: Language) -> Result<()> {
    let Counter { commands, results, mut functions, module, variables } = Counter::new(case, language, 2).await?;
    let arguments = ["--functions", "remote", "--endpoint-url", &case.environment().endpoint];
    let mut program = case.run_in(&variables, &module, &arguments)?;
    program.ready().await?;
    let mut egress = StreamReader::new(case, &results);
    let mut sent = put(case, &commands, 20).await?;
    until("the first results", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= 10).then_some(()))
    })
    .await?;

    sent += put(case, &commands, 10).await?;
    functions.kill()?;
    sent += put(case, &commands, 10).await?;
    program.says("refused").await?;
    functions.start_again().await?;
    sent += put(case, &commands, 10).await?;
    until("all results", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= sent * KEYS).then_some(()))
    })
    .await
    .with_context(|| format!("{} of {} came out", egress.records().len(), sent * KEYS))?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let totals: Vec<String> = (1..=sent).map(|total| total.to_string()).collect();
    let came_out = per_key(&egress.texts()?);
    ensure!(came_out.len() == KEYS, "results of {:?}", came_out.keys());
    for (key, results) in came_out {
        ensure!(results == totals, "{key}: {results:?}, not 1 to {sent}");
    }
    Ok(())
}

/// Sends `times` commands to each key, and says how many that were of each.
async fn put(case: &Case, stream: &StreamArn, times: usize) -> Result<usize> {
    let records: Vec<Text> = (0..times * KEYS).map(|index| add_one(format!("counter-{}", index % KEYS))).collect();
    case.put(stream, &records).await?;
    Ok(times)
}
