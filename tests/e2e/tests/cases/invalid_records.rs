//! Records that a function sends with the published SDK, and that Kinesis would never take.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, until};

use super::functions::{FunctionServer, Language};
use super::template::place;

pub(crate) fn add(suite: &mut Suite) {
    let name = "invalid_records::an_invalid_record_becomes_a_dead_letter_and_the_rest_of_its_answer_counts";
    if Language::Python.is_here(suite, name) {
        suite.program_case(name, invalid_records);
    }
}

/// What is wrong with a record, and what its dead letter says about it.
const WRONG: [(&str, &str, &str); 4] = [
    ("partition_key", "", "is not a valid partition key"),
    ("stream", "bad name!", "is not a valid stream name"),
    ("explicit_hash_key", "abc", "`abc` is not a valid hash key"),
    ("explicit_hash_key", "340282366920938463463374607431768211456", "is not a valid hash key"),
];

/// Each message makes three records: a good one, a wrong one, and a good one.
async fn invalid_records(case: &Case) -> Result<()> {
    let (commands, results, dead) =
        futures::try_join!(case.stream("commands", 1), case.stream("results", 1), case.stream("dead-letters", 1))?;
    let file = case.file("records.py", include_str!("../../functions/records.py"))?;
    let functions = FunctionServer::start(case.environment(), Language::Python, &file).await?;
    let place = place(case);
    let module = format!(
        "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: records.e2e/*\n  urlPathTemplate: {}\n---\n\
         kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: records.e2e/commands\n{place}  startupPosition:\n    \
         type: trim-horizon\n  streams:\n    - stream: {}\n      valueType: records.e2e/command\n      targets:\n        - \
         records.e2e/fn\n---\nkind: io.statefun.kinesis.v1/egress\nspec:\n  id: records.e2e/results\n{place}  \
         streamName: {}\n  failedRecordHandling:\n    type: dead-letter\n    stream: {}\n",
        functions.url(),
        commands.name(),
        results.name(),
        dead.name(),
    );
    let good = |value: String| json!({"stream": results.name().as_str(), "partition_key": "k", "value": value});
    let mut expected = Vec::new();
    for (number, (field, wrong, _)) in WRONG.into_iter().enumerate() {
        let mut bad = good("never".to_owned());
        bad[field] = wrong.into();
        let (before, after) = (format!("{number} before"), format!("{number} behind"));
        let command = json!([good(before.clone()), bad, good(after.clone())]);
        case.put(&commands, &[Text::new("all".to_owned(), command.to_string())]).await?;
        expected.extend([before, after]);
    }
    let state = case.path("state").display().to_string();
    let mut program = case.run(&module, &["--state", &state])?;
    let (mut egress, mut letters) = (StreamReader::new(case, &results), StreamReader::new(case, &dead));
    until("all records and dead letters", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        letters.read_on().await?;
        let is_all = egress.records().len() >= expected.len() && letters.records().len() >= WRONG.len();
        Ok(is_all.then_some(()))
    })
    .await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let came_out: Vec<String> = egress.texts()?.into_iter().map(|text| text.payload).collect();
    ensure!(came_out == expected, "{came_out:?}, not {expected:?}");
    letters.read_to_tip().await?;
    let letters = letters.texts()?;
    ensure!(letters.len() == WRONG.len(), "{letters:?}");
    for (letter, (_, _, says)) in letters.iter().zip(WRONG) {
        let letter: Value = serde_json::from_str(&letter.payload).context("the envelope")?;
        ensure!(letter["reason"] == "invalid-record" && letter["origin"] == "egress", "{letter:#}");
        let message = letter["message"].as_str().context("the message")?;
        ensure!(message.contains("records.e2e/fn/all") && message.contains(says), "{message}");
    }
    Ok(())
}
