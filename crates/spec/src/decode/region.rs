use statefun_kinesis_module::check_authority;
use statefun_kinesis_types::AwsRegion;

use super::{
    Decoder, Entry, Object, Placed,
    lookalike::with_lookalike,
    properties::Settings,
    suggest,
    table::{Field, Setting, TYPE, Tagged, Takes, Text, Variant},
};
use crate::{Code, findings::Finding};

const ID: Field = Field::new(
    "id",
    Takes::Text(Text::RegionId),
    "id: us-east-1",
    "The region's id. Requests are signed for this region.",
)
.required();

pub(super) const REGION: Tagged = Tagged {
    what: "`awsRegion`",
    example: "awsRegion:\n  type: specific\n  id: us-east-1",
    default: None,
    variants: &[
        Variant::new("specific", "`awsRegion` of type `specific`", "The region of this id.", &[TYPE, ID]),
        Variant::new(
            "custom-endpoint",
            "`awsRegion` of type `custom-endpoint`",
            "A server at an address of its own: LocalStack, a VPC endpoint.",
            &[
                TYPE,
                Field::new(
                    "endpoint",
                    Takes::Text(Text::Endpoint),
                    "endpoint: http://localhost:4566",
                    "The address of the server, with `http://` or `https://`. It has no user and no password in it.",
                )
                .required(),
                ID,
            ],
        ),
        Variant::new(
            "default",
            "`awsRegion` of type `default`",
            "What the AWS default chain finds: environment, profile, instance metadata.",
            &[TYPE],
        ),
    ],
};

pub(super) const REGION_FIELD: Field = Field::new(
    "awsRegion",
    Takes::Tagged(&REGION),
    REGION.example,
    "The region of the service. The region in the ARN of a stream takes precedence, with a warning.",
)
.default("{type: default}");

/// The regions that AWS had in November 2026, for those who misspell one. Others are taken as they are.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Where the service is, and whether its id may be quoted.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) value: AwsRegion,
    pub(super) is_from_variable: bool,
}

impl Region {
    /// Whether the server is a stand-in of AWS, which takes any keys: then they are no secret worth a warning.
    pub(super) fn is_stand_in(&self) -> bool {
        matches!(&self.value, AwsRegion::CustomEndpoint { endpoint, .. } if !endpoint.contains("amazonaws.com"))
    }
}

impl Decoder<'_> {
    /// Where the service is. `None` means that an error was reported; a field that is not there is the default.
    pub(super) fn region(&mut self, entry: Option<Entry<'_>>, settings: &Settings<'_>) -> Option<Region> {
        let written = match entry {
            Some(entry) => self.region_field(entry)?,
            None => Region { value: AwsRegion::Default, is_from_variable: false },
        };
        self.region_of_properties(entry, written, settings)
    }

    fn region_field(&mut self, entry: Entry<'_>) -> Option<Region> {
        let (name, object) = self.tagged(entry)?;
        match name {
            "specific" => {
                let id = self.id_of(&object)?;
                self.check_spelling(&id);
                let is_from_variable = id.written.is_some();
                Some(Region { value: AwsRegion::Specific { id: id.value }, is_from_variable })
            }
            "custom-endpoint" => {
                let endpoint = object.get("endpoint").and_then(|entry| self.endpoint_uri(entry));
                let id = self.id_of(&object)?;
                let is_from_variable = id.written.is_some();
                let value = AwsRegion::CustomEndpoint { endpoint: endpoint?, id: id.value };
                Some(Region { value, is_from_variable })
            }
            "default" => Some(Region { value: AwsRegion::Default, is_from_variable: false }),
            name => unreachable!("the table has a type of region `{name}` that is not read"),
        }
    }

    /// The region that client properties name, if the field leaves it open. Where both say something, it must be the
    /// same.
    fn region_of_properties(
        &mut self,
        entry: Option<Entry<'_>>,
        written: Region,
        settings: &Settings<'_>,
    ) -> Option<Region> {
        let id = settings.get(Setting::Region);
        let endpoint = settings.get(Setting::Endpoint);
        let own_id = self.optional(id, Self::region_id);
        let own_endpoint = self.optional(endpoint, Self::endpoint_uri);
        let (own_id, own_endpoint) = (own_id?, own_endpoint?);
        if let Some(id) = &own_id
            && own_endpoint.is_none()
        {
            self.check_spelling(id);
        }
        match (&written.value, entry) {
            (AwsRegion::Default, _) => match (own_id, own_endpoint) {
                (None, None) => Some(written),
                (Some(id), None) => {
                    Some(Region { value: AwsRegion::Specific { id: id.value }, is_from_variable: id.written.is_some() })
                }
                (Some(id), Some(endpoint)) => Some(Region {
                    value: AwsRegion::CustomEndpoint { endpoint, id: id.value },
                    is_from_variable: id.written.is_some(),
                }),
                (None, Some(_)) => {
                    let endpoint = endpoint?;
                    let message = format!("the client property `{}` also needs the region", endpoint.name);
                    let help = "set `awsRegion` with type `custom-endpoint` instead".to_owned();
                    self.findings.push(Finding::error(Code::IncompleteSettings, endpoint.key, message).help(help));
                    None
                }
            },
            (value @ (AwsRegion::Specific { .. } | AwsRegion::CustomEndpoint { .. }), entry) => {
                let mut is_right = true;
                if let (Some(property), Some(own)) = (id, &own_id)
                    && value.id() != Some(own.value.as_str())
                {
                    self.conflict(property, entry, "awsRegion");
                    is_right = false;
                }
                let written_endpoint = match value {
                    AwsRegion::CustomEndpoint { endpoint, .. } => Some(endpoint),
                    AwsRegion::Default | AwsRegion::Specific { .. } => None,
                };
                if let (Some(property), Some(own)) = (endpoint, &own_endpoint)
                    && written_endpoint != Some(own)
                {
                    self.conflict(property, entry, "awsRegion");
                    is_right = false;
                }
                is_right.then_some(written)
            }
        }
    }

    fn id_of(&mut self, object: &Object<'_>) -> Option<Placed<String>> {
        object.get("id").and_then(|entry| self.region_id(entry))
    }

    fn region_id(&mut self, entry: Entry<'_>) -> Option<Placed<String>> {
        let id = self.text(entry)?;
        if id.len() <= 64 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Some(entry.placed(id.to_owned()));
        }
        let message = format!("{} is not the id of a region: it has small letters, digits and `-`", entry.quoted(id));
        let written = entry.written().unwrap_or(id);
        let help = match suggest::nearest(written, REGIONS.iter().copied()) {
            Some(region) => format!("did you mean `{region}`?"),
            None => "for example `us-east-1`".to_owned(),
        };
        let help = with_lookalike(help, written);
        self.findings.push(Finding::error(Code::InvalidRegion, entry.place(), message).help(help));
        None
    }

    /// Warns of an id that looks like a known one without being it.
    pub(super) fn check_spelling(&mut self, id: &Placed<String>) {
        if id.written.is_some() || REGIONS.contains(&id.value.as_str()) {
            return;
        }
        let message = format!("unknown region `{}`", id.value);
        let help = match suggest::nearest(&id.value, REGIONS.iter().copied()) {
            Some(region) => format!("did you mean `{region}`? a new AWS region works too"),
            None => "a new AWS region works too".to_owned(),
        };
        self.findings.push(Finding::warning(Code::UnknownRegion, id.place, message).help(help));
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
            UriProblem::User => {
                let message = "an endpoint has no user and no password in it";
                let finding = Finding::error(Code::InvalidEndpoint, entry.place(), message);
                self.findings.push(finding.without_quotes());
                return None;
            }
            UriProblem::Rest => (
                format!("{} is not the address of a server", entry.quoted(text)),
                Some("for example http://localhost:4566".to_owned()),
            ),
        };
        self.findings.push(Finding::error(Code::InvalidEndpoint, entry.place(), message).help(help));
        None
    }
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
    let is_plain = rest.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if is_plain && check_authority(authority).is_ok() { Ok(()) } else { Err(UriProblem::Rest) }
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
