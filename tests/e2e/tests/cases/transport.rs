//! What goes wrong on the way to a server, over real sockets.

use std::time::Duration;

use anyhow::{Result, ensure};
use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::{ErrorKind, KinesisClient};
use statefun_kinesis_e2e::{Case, Refused, Suite};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) fn add(suite: &mut Suite) {
    suite.case("transport::a_refused_connection_is_unavailable", a_refused_connection_is_unavailable);
    suite.case("transport::a_host_without_an_address_is_unavailable", a_host_without_an_address_is_unavailable);
    suite.case("transport::what_is_not_http_is_unavailable", what_is_not_http_is_unavailable);
    suite.case("transport::a_plain_port_asked_for_tls_is_unavailable", a_plain_port_asked_for_tls_is_unavailable);
    suite.case("transport::an_answer_that_breaks_off_is_unavailable", an_answer_that_breaks_off_is_unavailable);
    suite.case("transport::a_connection_closed_without_answer_is_unavailable", a_connection_closed_without_answer);
    suite.case("transport::a_silent_server_is_a_timeout", a_silent_server_is_a_timeout);
}

/// Makes a call; `causes` are words of which the chain of causes has to have one.
async fn check(endpoint: String, kind: ErrorKind, causes: &[&str]) -> Result<()> {
    let client = AwsKinesis::builder()
        .region(AwsRegion::CustomEndpoint { endpoint, id: Case::REGION.to_owned() })
        .credentials(AwsCredentials::Basic {
            access_key_id: Secret::new("test"),
            secret_access_key: Secret::new("s"),
            session_token: None,
        })
        .operation_timeout(Duration::from_secs(2))
        .build()
        .await?;
    let stream = "orders".parse()?;
    let error = match client.describe_stream_summary(&stream).await {
        Ok(summary) => anyhow::bail!("the call succeeded: {summary:?}"),
        Err(error) => error,
    };
    let chain = format!("{:#}", anyhow::Error::from(error));
    ensure!(chain.contains(&kind.to_string()), "another kind than {kind}: {chain}");
    ensure!(chain.contains("stream orders"), "the stream is not named: {chain}");
    let lower_case = chain.to_lowercase();
    ensure!(causes.iter().any(|cause| lower_case.contains(cause)), "none of {causes:?} is named: {chain}");
    Ok(())
}

/// A server that takes connections, one after the other, reads what comes first and answers with these bytes.
async fn server(answer: &'static [u8], close: bool) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            if !close {
                open.push(stream);
            }
        }
    });
    Ok(authority)
}

async fn a_refused_connection_is_unavailable(_: &Case) -> Result<()> {
    // A port that was given back is soon that of the next case.
    let nobody = Refused::new()?;
    check(format!("http://{}", nobody.address()), ErrorKind::Unavailable, &["connection refused"]).await
}

async fn a_host_without_an_address_is_unavailable(_: &Case) -> Result<()> {
    check("http://kinesis.invalid:4566".to_owned(), ErrorKind::Unavailable, &["dns"]).await
}

async fn what_is_not_http_is_unavailable(_: &Case) -> Result<()> {
    let authority = server(b"SSH-2.0-OpenSSH_9.9\r\n", true).await?;
    check(format!("http://{authority}"), ErrorKind::Unavailable, &["http"]).await
}

async fn a_plain_port_asked_for_tls_is_unavailable(case: &Case) -> Result<()> {
    let endpoint = case.environment().endpoint.replace("http://", "https://");
    // LocalStack speaks both on one port, with a certificate that nobody knows; the others do not.
    check(endpoint, ErrorKind::Unavailable, &["certificate", "corrupt message"]).await
}

async fn an_answer_that_breaks_off_is_unavailable(_: &Case) -> Result<()> {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 500\r\n\r\n{\"Str";
    let authority = server(answer, true).await?;
    check(format!("http://{authority}"), ErrorKind::Unavailable, &["broke off"]).await
}

async fn a_connection_closed_without_answer(_: &Case) -> Result<()> {
    let authority = server(b"", true).await?;
    check(format!("http://{authority}"), ErrorKind::Unavailable, &["connection"]).await
}

async fn a_silent_server_is_a_timeout(_: &Case) -> Result<()> {
    let authority = server(b"", false).await?;
    check(format!("http://{authority}"), ErrorKind::Timeout, &["2s"]).await
}
