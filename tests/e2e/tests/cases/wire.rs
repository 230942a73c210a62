//! The server, without any client of ours.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Case, Suite};

pub(crate) fn add(suite: &mut Suite) {
    suite.case("wire::the_endpoint_answers", the_endpoint_answers);
}

/// ListStreams by hand: when this fails, the server is at fault and not the client.
async fn the_endpoint_answers(case: &Case) -> Result<()> {
    let endpoint = &case.environment().endpoint;
    let authority = endpoint.strip_prefix("http://").context("an endpoint by plain HTTP")?;
    let mut stream = TcpStream::connect(authority)?;
    write!(
        stream,
        "POST / HTTP/1.1\r\n\
         Host: {authority}\r\n\
         Content-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.ListStreams\r\n\
         X-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-target, Signature=0\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    )?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    ensure!(status.starts_with("HTTP/1.1 200"), "ListStreams answered `{}`", status.trim_end());
    Ok(())
}
