//! Answers to requests.

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;

use super::{exposition, health::MonitoredRun};

const TEXT: &str = "text/plain; charset=utf-8";

/// The answer to a request.
pub(super) fn answer(monitored: &MonitoredRun, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let respond: fn(&MonitoredRun) -> Response<Full<Bytes>> = match path {
        "/metrics" => metrics,
        "/healthz" => |_| text(StatusCode::OK, "alive"),
        "/readyz" => |monitored| match monitored.ready() {
            Ok(()) => text(StatusCode::OK, "ready"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
        },
        "/" => |_| text(StatusCode::OK, "/metrics\n/healthz\n/readyz"),
        _ => return text(StatusCode::NOT_FOUND, "not found; available are /metrics, /healthz and /readyz"),
    };
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut rejected = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported");
        rejected.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return rejected;
    }
    respond(monitored)
}

fn metrics(monitored: &MonitoredRun) -> Response<Full<Bytes>> {
    match exposition::exposition(monitored.snapshot()) {
        Ok(metrics) => of_type(StatusCode::OK, exposition::CONTENT_TYPE, metrics),
        Err(_) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics: this is a bug in statefun-kinesis")
        }
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    of_type(status, TEXT, format!("{line}\n"))
}

fn of_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
