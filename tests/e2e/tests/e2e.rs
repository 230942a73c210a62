//! The end-to-end cases. `cargo xtask e2e` starts a server, hands it to them and runs them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use libtest_mimic::{Arguments, Failed, Trial};
use statefun_kinesis_e2e::Environment;

fn main() {
    let arguments = Arguments::from_args();
    let environment = Environment::read();
    let endpoint = environment.endpoint.clone();
    let cases = vec![Trial::test("the_endpoint_answers", move || the_endpoint_answers(&endpoint))];
    libtest_mimic::run(&arguments, cases).exit();
}

/// ListStreams by hand: when this fails, the server is at fault and not the client.
fn the_endpoint_answers(endpoint: &str) -> Result<(), Failed> {
    let authority = endpoint.strip_prefix("http://").ok_or("an endpoint by plain HTTP")?;
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
    if !status.starts_with("HTTP/1.1 200") {
        return Err(format!("ListStreams answered `{}`", status.trim_end()).into());
    }
    Ok(())
}
