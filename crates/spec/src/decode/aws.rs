use std::path::PathBuf;

use statefun_kinesis_types::{AwsCredentials, AwsRegion};

use super::{Decoder, Entry, Field, Object, STATEFUN, Tagged, Variant, tagged::TYPE};
use crate::{Code, findings::Finding, variables::is_one_variable};

const REGION_ID: Field = Field::new("id", "id: us-east-1");

const REGION: Tagged = Tagged {
    what: "`awsRegion`",
    example: "awsRegion:\n  type: specific\n  id: us-east-1",
    variants: &[
        Variant::new("specific", "`awsRegion` of type `specific`", &[TYPE, REGION_ID]),
        Variant::new(
            "custom-endpoint",
            "`awsRegion` of type `custom-endpoint`",
            &[TYPE, Field::new("endpoint", "endpoint: http://localhost:4566"), REGION_ID],
        ),
        Variant::new("default", "`awsRegion` of type `default`", &[TYPE]),
    ],
};

const CREDENTIALS: Tagged = Tagged {
    what: "`awsCredentials`",
    example: "awsCredentials:\n  type: profile\n  profile: default",
    variants: &[
        Variant::new(
            "profile",
            "`awsCredentials` of type `profile`",
            &[
                TYPE,
                Field::new("profile", "profile: default").or(&[("profileName", STATEFUN)]),
                Field::new("profilePath", "profilePath: /etc/aws/credentials"),
            ],
        ),
        Variant::new(
            "basic",
            "`awsCredentials` of type `basic`",
            &[
                TYPE,
                Field::new("accessKeyId", "accessKeyId: <key id>"),
                Field::new("secretAccessKey", "secretAccessKey: <secret>"),
            ],
        ),
        Variant::new("default", "`awsCredentials` of type `default`", &[TYPE]),
    ],
};

/// Where the service is, and whether its id may be quoted.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) value: AwsRegion,
    pub(super) is_from_variable: bool,
}

impl Decoder<'_> {
    /// Where the service is. `None` means that an error was reported; a field that is not there is the default.
    pub(super) fn region(&mut self, entry: Option<Entry<'_>>) -> Option<Region> {
        let default = Region { value: AwsRegion::Default, is_from_variable: false };
        let Some(entry) = entry else { return Some(default) };
        let (name, object) = self.tagged(entry, &REGION)?;
        match name {
            "specific" => {
                let (id, is_from_variable) = self.region_id(&object)?;
                Some(Region { value: AwsRegion::Specific { id }, is_from_variable })
            }
            "custom-endpoint" => {
                let endpoint = self.required(&object, "endpoint").and_then(|entry| self.endpoint_uri(entry));
                let id = self.region_id(&object);
                let (id, is_from_variable) = id?;
                Some(Region { value: AwsRegion::CustomEndpoint { endpoint: endpoint?, id }, is_from_variable })
            }
            _ => Some(default),
        }
    }

    /// The id, and whether a variable stands for it.
    fn region_id(&mut self, object: &Object<'_>) -> Option<(String, bool)> {
        let entry = self.required(object, "id")?;
        let id = self.text(entry)?;
        if id.len() <= 64 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Some((id.to_owned(), entry.written().is_some()));
        }
        let message = format!("{} is not the id of a region: it has small letters, digits and `-`", entry.quoted(id));
        let help = "for example `us-east-1`".to_owned();
        self.findings.push(Finding::error(Code::InvalidRegion, entry.place(), message).help(help));
        None
    }

    fn endpoint_uri(&mut self, entry: Entry<'_>) -> Option<String> {
        let text = self.text(entry)?;
        let Err(problem) = check_uri(text) else { return Some(text.to_owned()) };
        let (message, help) = match problem {
            UriProblem::Scheme => (
                format!("{} is not an address with http:// or https://", entry.quoted(text)),
                (entry.written().is_none() && check_uri(&format!("http://{text}")).is_ok())
                    .then(|| format!("write http://{text}")),
            ),
            // The text is not shown: it may have the password in it.
            UriProblem::User => ("an endpoint has no user and no password in it".to_owned(), None),
            UriProblem::Rest => (
                format!("{} is not the address of a server", entry.quoted(text)),
                Some("for example http://localhost:4566".to_owned()),
            ),
        };
        self.findings.push(Finding::error(Code::InvalidEndpoint, entry.place(), message).help(help));
        None
    }

    /// Who asks. `None` means that an error was reported; a field that is not there is the default.
    pub(super) fn credentials(&mut self, entry: Option<Entry<'_>>, region: Option<&Region>) -> Option<AwsCredentials> {
        let Some(entry) = entry else { return Some(AwsCredentials::Default) };
        let (name, object) = self.tagged(entry, &CREDENTIALS)?;
        match name {
            "profile" => {
                let name = self.required(&object, "profile").and_then(|entry| self.text(entry));
                let path = match object.get("profilePath") {
                    Some(entry) => self.text(entry).map(|path| Some(PathBuf::from(path))),
                    None => Some(None),
                };
                Some(AwsCredentials::Profile { name: name?.to_owned(), path: path? })
            }
            "basic" => {
                let access_key_id = self.required(&object, "accessKeyId").and_then(|entry| self.secret(entry));
                let secret = self.required(&object, "secretAccessKey");
                let secret_access_key = secret.and_then(|entry| self.secret(entry));
                if let Some(entry) =
                    secret.filter(|entry| !is_local(region) && !entry.written().is_some_and(is_one_variable))
                {
                    let message = "this file has AWS keys in it: whoever reads the file can use them";
                    let help = "prefer a profile, or the default chain (environment, web identity, instance role)";
                    self.findings.push(Finding::warning(Code::StaticKeys, entry.key, message).help(help.to_owned()));
                }
                Some(AwsCredentials::Basic { access_key_id: access_key_id?, secret_access_key: secret_access_key? })
            }
            _ => Some(AwsCredentials::Default),
        }
    }
}

/// Whether the keys can be for a stand-in of AWS, which takes any: then they are no secret worth a warning.
fn is_local(region: Option<&Region>) -> bool {
    matches!(region.map(|region| &region.value), Some(AwsRegion::CustomEndpoint { endpoint, .. }) if !endpoint.contains("amazonaws.com"))
}

enum UriProblem {
    Scheme,
    User,
    Rest,
}

/// Whether a text is `http(s)://host[:port][/path]`, the host a name or an address.
fn check_uri(text: &str) -> Result<(), UriProblem> {
    let (scheme, rest) = text.split_once("://").ok_or(UriProblem::Scheme)?;
    if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(UriProblem::Scheme);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UriProblem::User);
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let address: Result<std::net::Ipv6Addr, _> = address.parse();
            address.map_err(|_| UriProblem::Rest)?;
            ("[]", port)
        }
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|p| p > 0));
    let is_host = host == "[]"
        || !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let is_plain = rest.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if is_port && is_host && is_plain { Ok(()) } else { Err(UriProblem::Rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_of_servers() {
        for good in [
            "http://localhost:4566",
            "https://kinesis.eu-west-1.amazonaws.com",
            "HTTP://127.0.0.1:4566/",
            "http://[::1]:4566",
            "http://localstack.svc:4566/path?x=1",
        ] {
            assert!(check_uri(good).is_ok(), "{good}");
        }
        for bad in [
            "localhost:4566",
            "ftp://host",
            "http://",
            "http://:80",
            "http://a b",
            "http://h:0",
            "http://h:99999",
            "http://h:x",
            "http://u:p@h",
            "http://[::1",
            "http://[x]:1",
            "http:/host",
            "//host",
            "http://h/\n",
        ] {
            assert!(check_uri(bad).is_err(), "{bad}");
        }
    }
}
