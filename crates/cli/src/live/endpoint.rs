//! Asks the endpoints of a module whether they serve its functions.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};
use statefun_kinesis_remote::{Probed, RemoteEndpoint};
use statefun_kinesis_spec::{EndpointSpec, FunctionPattern, Module};
use statefun_kinesis_types::FunctionType;
use tracing::warn;

use super::finding::Problem;
use crate::failure::lines;

/// How long an endpoint may take for one answer. The connect timeout of the endpoint may be shorter.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the start of a run waits for the answers of all endpoints.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// Functions that are asked for concurrently.
const CONCURRENT_PROBES: usize = 8;

/// The name of a function that no endpoint serves, to ask an endpoint whose functions the module does not name.
const NO_FUNCTION: &str = "statefun-kinesis-check-live";

/// The result for one function of an endpoint.
#[derive(Debug)]
pub(super) struct EndpointAnswer {
    /// The functions of the endpoint, as the module names them.
    pub(super) functions: FunctionPattern,
    pub(super) function: FunctionType,
    /// The address of the requests.
    pub(super) address: String,
    /// The answer in a few words.
    pub(super) found: String,
    pub(super) problem: Option<Problem>,
    /// A remark that is not a problem.
    pub(super) note: Option<String>,
}

impl EndpointAnswer {
    /// The result as a line of text.
    pub(super) fn line(&self) -> String {
        format!("endpoint {}: {} at {}: {}", self.functions, self.function, self.address, self.found)
    }
}

/// Asks all endpoints for the functions that the module sends records to.
pub(super) async fn check_all(module: &Module) -> Vec<EndpointAnswer> {
    let asked = functions(module).into_iter().map(|(endpoint, function, is_real)| check(endpoint, function, is_real));
    stream::iter(asked).buffered(CONCURRENT_PROBES).collect().await
}

/// Logs a warning for each endpoint that does not answer at the start of a run. The run waits for it and retries.
pub(crate) async fn warn_of_silent_endpoints(module: &Module) {
    let mut endpoints = BTreeSet::new();
    let first = |(endpoint, ..): &(&EndpointSpec, FunctionType, bool)| endpoints.insert(endpoint.functions.to_string());
    let asked: Vec<_> = functions(module).into_iter().filter(first).collect();
    let ask = |(endpoint, function, _): (_, FunctionType, _)| warn_if_silent(endpoint, function);
    stream::iter(asked.into_iter().map(ask)).for_each_concurrent(CONCURRENT_PROBES, |asked| asked).await;
}

async fn warn_if_silent(endpoint: &EndpointSpec, function: FunctionType) {
    // The run itself reports an endpoint that cannot be created.
    let Ok(remote) = RemoteEndpoint::new(endpoint) else { return };
    let why = match remote.probe(&function, 0, START_TIMEOUT).await {
        Probed::Unreachable(error) | Probed::Tls(error) | Probed::NoAnswer(error) => lines(&error).join(": "),
        Probed::Status { status: 404, .. } => "it answered 404 Not Found".to_owned(),
        // A function that fails is reported when it is called.
        Probed::Status { .. } | Probed::Served | Probed::Unusable(_) => return,
    };
    warn!(
        functions = %endpoint.functions,
        address = endpoint.url_path_template.as_str(),
        "an endpoint does not answer; its messages wait, and `check --live` says more: {why}"
    );
}

/// The functions to ask for, each with its endpoint, and whether the module names the function.
fn functions(module: &Module) -> Vec<(&EndpointSpec, FunctionType, bool)> {
    let targets: BTreeSet<&FunctionType> =
        module.ingresses.iter().flat_map(|ingress| &ingress.streams).flat_map(|route| &route.targets).collect();
    let mut functions = Vec::new();
    for endpoint in &module.endpoints {
        let serves = |target: &FunctionType| module.endpoint_for(target).is_some_and(|other| other == endpoint);
        let named: Vec<FunctionType> = match &endpoint.functions {
            FunctionPattern::Function(function) => vec![function.clone()],
            FunctionPattern::Namespace(_) => {
                targets.iter().filter(|target| serves(target)).map(|target| (*target).clone()).collect()
            }
        };
        let unnamed = match &endpoint.functions {
            FunctionPattern::Namespace(namespace) if named.is_empty() => {
                format!("{namespace}/{NO_FUNCTION}").parse().ok()
            }
            FunctionPattern::Namespace(_) | FunctionPattern::Function(_) => None,
        };
        functions.extend(named.into_iter().map(|function| (endpoint, function, true)));
        functions.extend(unnamed.map(|function| (endpoint, function, false)));
    }
    functions
}

async fn check(endpoint: &EndpointSpec, function: FunctionType, is_real: bool) -> EndpointAnswer {
    let mut answer = EndpointAnswer {
        functions: endpoint.functions.clone(),
        address: endpoint.url_path_template.url_for(&function),
        function: function.clone(),
        found: String::new(),
        problem: None,
        note: None,
    };
    let remote = match RemoteEndpoint::new(endpoint) {
        Ok(remote) => remote,
        Err(error) => {
            let message = "the endpoint cannot be used".to_owned();
            let help = "correct the address or the files that the endpoint names".to_owned();
            answer.found.clone_from(&message);
            answer.problem = Some(Problem { message, because: lines(&error), help });
            return answer;
        }
    };
    let probed = remote.probe(&function, 0, PROBE_TIMEOUT).await;
    let is_served = matches!(probed, Probed::Served);
    (answer.found, answer.problem) = judge(&answer, probed, is_real);
    let bytes = endpoint.max_request_bytes.get() as usize;
    if is_served {
        let large = remote.probe(&function, bytes, PROBE_TIMEOUT).await;
        if let Probed::Status { status: 413, text, .. } = large {
            answer.note = Some(format!(
                "the server, or a proxy before it, rejects requests of {bytes} bytes, the endpoint's `maxRequestBytes` \
                 (413: {text}). A run makes smaller requests after such an answer. Set `maxRequestBytes` to the limit of \
                 the server, or raise that limit",
            ));
        }
    }
    answer
}

/// The answer in a few words, and the problem that it shows.
fn judge(answer: &EndpointAnswer, probed: Probed, is_real: bool) -> (String, Option<Problem>) {
    let address = &answer.address;
    let problem =
        |message: String, because: Vec<String>, help: &str| Some(Problem { message, because, help: help.to_owned() });
    match probed {
        Probed::Served => ("served".to_owned(), None),
        Probed::Unreachable(error) => {
            let message = format!("{address} cannot be reached");
            let help = "start the function's server, or correct `urlPathTemplate`; check the network path to it: DNS, \
                        firewalls, proxies";
            ("cannot be reached".to_owned(), problem(message, lines(&error), help))
        }
        Probed::Tls(error) => {
            let message = format!("no TLS connection to {address}");
            let help = "check that the server speaks TLS at this port, that `trust_cacerts` has the certificate of its \
                        issuer, and `client_cert` if the server asks for one";
            ("no TLS connection".to_owned(), problem(message, lines(&error), help))
        }
        Probed::NoAnswer(error) => {
            let message = format!("{address} does not answer");
            let help = "check that the server is a server of functions, and that it is not overloaded";
            ("does not answer".to_owned(), problem(message, lines(&error), help))
        }
        Probed::Unusable(error) => {
            let message = format!("{address} answers, but not as a server of functions");
            let help = "correct `urlPathTemplate`: another program may listen there";
            ("not a server of functions".to_owned(), problem(message, lines(&error), help))
        }
        // The SDKs fail like this for a function that they do not know.
        Probed::Status { status: 500, .. } if !is_real => {
            ("a server answers; the module names none of its functions".to_owned(), None)
        }
        Probed::Status { status, location, text } => {
            (format!("answered {status}"), Some(judge_status(answer, status, location, &text)))
        }
    }
}

/// The problem that a status shows.
fn judge_status(answer: &EndpointAnswer, status: u16, location: Option<String>, text: &str) -> Problem {
    let EndpointAnswer { function, address, .. } = answer;
    let mut message = format!("{address} answered {status}");
    let help = match status {
        300..=399 => {
            message += ", which redirects";
            message += &location.map_or_else(String::new, |to| format!(" to {to}"));
            "set `urlPathTemplate` to the final address: redirects are not followed"
        }
        404 | 405 => "correct the path of `urlPathTemplate`: the server serves no functions there",
        401 | 403 => "a proxy or the server asks for credentials: allow requests of this machine, or set `client_cert`",
        413 => "raise the limit of the server, or of a proxy before it: it rejects even the smallest request",
        429 | 502..=504 => "the server is not available now: try again, and look into the log of the server or proxy",
        _ => {
            message += &format!(" to a request for the function {function} without messages");
            "check that the server has a function of exactly this name, and look into the log of the server: for an \
             unknown function the SDKs answer with an error"
        }
    };
    Problem { message, because: vec![format!("{status}: {text}")], help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_functions::InvokeError;
    use statefun_kinesis_spec::{Options, SourceFile, read_module};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn module(endpoints: &str) -> Module {
        let text = format!(
            "kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: example/in\n  streams:\n    - streamArn: \
             arn:aws:kinesis:us-east-1:123456789012:stream/in\n      valueType: example/Order\n      targets: \
             [good/orders, bad/unknown, gone/orders]\n---\n{endpoints}"
        );
        let checked = read_module(&[SourceFile::new("module.yaml", text.as_str())], &Options::default());
        checked.module.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics))
    }

    fn endpoint(functions: &str, url: &str, more: &str) -> String {
        format!(
            "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: {functions}\n  urlPathTemplate: {url}\n{more}---\n"
        )
    }

    /// A server with a limit of 10 000 bytes, which answers by the first part of the path: 200, or another status.
    async fn serve() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut buffer = [0; 4_096];
                let length = loop {
                    let read = stream.read(&mut buffer).await.unwrap();
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request);
                    let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
                    break head.len() + 4 + length.parse::<usize>().unwrap();
                };
                while request.len() < length {
                    let read = stream.read(&mut buffer).await.unwrap();
                    request.extend_from_slice(&buffer[..read]);
                }
                let path = String::from_utf8_lossy(&request[..200.min(request.len())]).into_owned();
                let status = if length > 10_000 { "413" } else { &path["POST /".len()..][..3] };
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn each_function_of_the_module_is_asked_for_without_a_message() {
        let port = serve().await;
        // Nobody listens on the first port of any machine.
        let module = module(
            &[
                endpoint("good/*", &format!("http://localhost:{port}/200"), ""),
                endpoint("bad/unknown", &format!("http://localhost:{port}/500"), ""),
                endpoint("gone/*", "http://localhost:1/200", ""),
                endpoint("idle/*", &format!("http://localhost:{port}/500"), ""),
                endpoint("lost/*", &format!("http://localhost:{port}/404"), ""),
            ]
            .concat(),
        );
        let answers = check_all(&module).await;
        let found: Vec<(String, &str, Option<&str>)> = answers
            .iter()
            .map(|answer| {
                let problem = answer.problem.as_ref().map(|problem| problem.help.split([':', ',']).next().unwrap());
                (answer.function.to_string(), answer.found.as_str(), problem)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("good/orders".to_owned(), "served", None),
                (
                    "bad/unknown".to_owned(),
                    "answered 500",
                    Some("check that the server has a function of exactly this name"),
                ),
                ("gone/orders".to_owned(), "cannot be reached", Some("start the function's server")),
                (format!("idle/{NO_FUNCTION}"), "a server answers; the module names none of its functions", None,),
                (format!("lost/{NO_FUNCTION}"), "answered 404", Some("correct the path of `urlPathTemplate`"),),
            ]
        );
        let note = answers[0].note.as_ref().unwrap();
        assert!(note.contains("1048576 bytes") && note.contains("`maxRequestBytes`"), "{note}");
        let url = format!("http://localhost:{port}/200");
        let fits =
            ["good/*", "bad/*", "gone/*"].map(|functions| endpoint(functions, &url, "  maxRequestBytes: 9000\n"));
        let answers = check_all(&self::module(&fits.concat())).await;
        assert!(answers.iter().all(|answer| answer.problem.is_none() && answer.note.is_none()), "{answers:#?}");
    }

    #[test]
    fn each_answer_has_its_own_remedy() {
        let answer = EndpointAnswer {
            functions: "example/*".parse().unwrap(),
            function: "example/orders".parse().unwrap(),
            address: "http://orders.svc/statefun".to_owned(),
            found: String::new(),
            problem: None,
            note: None,
        };
        let status = |status, location: Option<&str>| Probed::Status {
            status,
            location: location.map(str::to_owned),
            text: "(no body)".to_owned(),
        };
        let error = || InvokeError::new("connection refused");
        for (probed, message, help) in [
            (status(302, Some("https://login.example/")), "redirects to https://login.example/", "final address"),
            (status(401, None), "answered 401", "credentials"),
            (status(403, None), "answered 403", "credentials"),
            (status(404, None), "answered 404", "correct the path"),
            (status(405, None), "answered 405", "correct the path"),
            (status(413, None), "answered 413", "raise the limit"),
            (status(500, None), "the function example/orders without messages", "exactly this name"),
            (status(503, None), "answered 503", "not available now"),
            (Probed::Unreachable(error()), "cannot be reached", "start the function's server"),
            (Probed::Tls(error()), "no TLS connection", "`trust_cacerts`"),
            (Probed::NoAnswer(error()), "does not answer", "overloaded"),
            (Probed::Unusable(error()), "not as a server of functions", "another program"),
        ] {
            let (_, problem) = judge(&answer, probed, true);
            let problem = problem.expect(message);
            assert!(problem.message.contains(message) && problem.help.contains(help), "{problem:#?}");
        }
        assert_eq!(judge(&answer, Probed::Served, true), ("served".to_owned(), None));
        assert_eq!(judge(&answer, status(500, None), false).1, None);
    }
}
