//! Real sources of credentials that fail, and come back.

use std::{fs, path::Path, time::Duration};

use statefun_kinesis_client::{ErrorKind, KinesisClient};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, ErrorChain};

use crate::{
    AwsKinesis,
    replay::{Replay, Reply},
};

mod sources;
mod stage;

/// Longer than the shortest time between two loads.
const PAUSE: Duration = Duration::from_millis(1_100);

/// A client with the profile `p` of a file.
async fn with_profile(file: &Path, replies: Vec<Reply>) -> (AwsKinesis, Replay) {
    let replay = Replay::new(replies);
    let region = AwsRegion::CustomEndpoint { endpoint: "http://kinesis.test".to_owned(), id: "us-east-1".to_owned() };
    let credentials = AwsCredentials::Profile { name: "p".to_owned(), path: Some(file.to_owned()) };
    let mut builder = AwsKinesis::builder().region(region).credentials(credentials);
    builder.http_client = Some(replay.http_client());
    (builder.build().await.unwrap(), replay)
}

async fn describe(client: &AwsKinesis) -> statefun_kinesis_client::Error {
    client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err()
}

/// The key that signed the last request.
fn key(replay: &Replay) -> String {
    let asked = replay.asked();
    let signature = &asked.last().unwrap().headers["authorization"];
    signature.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn keys_that_were_replaced_in_their_file_are_read_again_when_the_old_ones_are_rejected() {
    for code in ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let write = |key: &str| {
            fs::write(&file, format!("[p]\naws_access_key_id={key}\naws_secret_access_key=hunter2\n")).unwrap();
        };
        write("AKIDOLD");
        let other = || Reply::error(500, "InternalFailure");
        let (client, replay) = with_profile(&file, vec![other(), Reply::error(400, code), other()]).await;
        describe(&client).await;
        write("AKIDNEW");
        tokio::time::sleep(PAUSE).await;
        describe(&client).await;
        assert_eq!(key(&replay), "AKIDOLD", "{code}: they are not read for each call");
        describe(&client).await;
        assert_eq!(key(&replay), "AKIDNEW", "{code}");
    }
}

#[tokio::test]
async fn a_program_that_fails_is_not_available_and_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, script, works) = (folder.path().join("config"), folder.path().join("keys"), folder.path().join("works"));
    let keys = r#"{"Version": 1, "AccessKeyId": "AKIDPROGRAM", "SecretAccessKey": "hunter2"}"#;
    fs::write(&script, format!("[ -e {} ] || exit 1\necho '{keys}'\n", works.display())).unwrap();
    fs::write(&file, format!("[profile p]\ncredential_process = sh {}\n", script.display())).unwrap();
    let (client, replay) = with_profile(&file, vec![Reply::error(500, "InternalFailure")]).await;
    let error = describe(&client).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", ErrorChain(&error));
    assert!(replay.asked().is_empty());
    let status = client.credentials().unwrap();
    assert_eq!((status.failures, status.loaded_at, status.failing_since.is_some()), (1, None, true));

    fs::write(&works, "").unwrap();
    tokio::time::sleep(PAUSE).await;
    describe(&client).await;
    assert_eq!(key(&replay), "AKIDPROGRAM");
    let status = client.credentials().unwrap();
    assert_eq!((status.failures, status.loaded_at.is_some(), status.failing_since), (1, true, None));
}
