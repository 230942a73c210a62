//! What follows from an answer in which a field is missing, null, empty, there twice, or unknown. Nothing of it may be
//! lost in silence: it is as good as the whole answer, or an error, or the table says why it is something else.

mod answers;
mod change;
mod table;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use statefun_kinesis_client::{ErrorKind, Operation};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret};

use crate::{AwsKinesis, loopback::Loopback};
use answers::{Answer, answers_to};
use change::Changed;
use table::{Expected, TABLE};

/// What a changed answer gave, if that is not what is expected of it.
fn breach(expected: Expected, whole: &str, got: &Result<String, (ErrorKind, String)>) -> Option<String> {
    let is_right = match (expected, got) {
        (Expected::Whole, Ok(read)) => read == whole,
        (Expected::Reads(part), Ok(read)) => read != whole && read.contains(part),
        (Expected::Incomplete(field), Err((ErrorKind::Incomplete, message))) => {
            message.contains(&format!("the answer has no `{field}`"))
        }
        (Expected::Unexpected(part), Err((ErrorKind::Unexpected, message))) => message.contains(part),
        (Expected::Whole | Expected::Reads(_) | Expected::Incomplete(_) | Expected::Unexpected(_), Ok(_) | Err(_)) => {
            false
        }
    };
    (!is_right).then(|| format!("expected {expected:?}, got {got:?}"))
}

/// A place without the numbers of elements, and with one name for the consumer in all answers that describe one.
fn kind_of_place(place: &str) -> String {
    let kind = place.replace("[0]", "[]").replace("[1]", "[]");
    for consumer in ["ConsumerDescription.", "Consumer.", "Consumers[]."] {
        if let Some(field) = kind.strip_prefix(consumer) {
            return format!("CONSUMER.{field}");
        }
    }
    kind
}

/// The client of a server, and the server's next answer.
async fn server() -> (AwsKinesis, Loopback, Arc<Mutex<(Answer, String)>>) {
    let next = Arc::new(Mutex::new((Answer::ListShards, String::new())));
    let served = Arc::clone(&next);
    let server = Loopback::start(move |_| {
        let (answer, text) = &*served.lock().unwrap();
        answer.http(text)
    })
    .await;
    let region = AwsRegion::CustomEndpoint { endpoint: server.url(), id: "us-east-1".to_owned() };
    let keys = AwsCredentials::Basic {
        access_key_id: Secret::new("AKIDBASIC"),
        secret_access_key: Secret::new("hunter2"),
        session_token: None,
    };
    (AwsKinesis::builder().region(region).credentials(keys).build().await.unwrap(), server, next)
}

#[tokio::test]
async fn nothing_of_a_changed_answer_is_lost_in_silence() {
    let (client, _server, next) = server().await;
    let call = async |answer: Answer, text: String| {
        *next.lock().unwrap() = (answer, text);
        answer.call(&client).await.map_err(|error| (error.kind(), error.to_string()))
    };
    let (mut breaches, mut used, mut cells) = (Vec::new(), HashSet::new(), 0);
    for answer in Operation::ALL.into_iter().flat_map(answers_to).copied() {
        let value = answer.whole();
        let whole = call(answer, value.to_string()).await.unwrap_or_else(|error| panic!("{answer:?}: {error:?}"));
        for Changed { place, change, text } in change::all(&value) {
            let kind = kind_of_place(&place);
            let is_cell =
                |row: &table::Row| row.0.contains(&answer) && row.1.contains(&kind.as_str()) && row.2.contains(&change);
            let rows: Vec<usize> = (0..TABLE.len()).filter(|row| is_cell(&TABLE[*row])).collect();
            assert!(rows.len() <= 1, "{answer:?} {place} {change:?} has several rows");
            let expected = rows.first().map_or(Expected::Whole, |row| TABLE[*row].3);
            let got = call(answer, text.clone()).await;
            if let Some(breach) = breach(expected, &whole, &got) {
                breaches.push(format!("{answer:?} `{place}` {change:?}: {breach}"));
            }
            for row in rows {
                used.insert((row, answer, kind.clone(), change));
            }
            cells += 1;
        }
    }
    // Each combination that a row names exists.
    let named: usize = TABLE.iter().map(|row| row.0.len() * row.1.len() * row.2.len()).sum();
    assert!(breaches.is_empty(), "{} of {cells} cells:\n{}", breaches.len(), breaches.join("\n"));
    assert_eq!(used.len(), named, "rows of the table that are about nothing");
    assert!(cells > 500, "{cells} cells");
}
