use std::path::PathBuf;

use statefun_kinesis_types::AwsCredentials;

use super::{
    Decoder, Entry, STATEFUN,
    properties::Settings,
    region::Region,
    table::{Alias, Field, Setting, TYPE, Tagged, Takes, Text, Variant},
};
use crate::{Code, findings::Finding, variables::is_one_variable};

const ROLE_ARN: Field = Field::new(
    "roleArn",
    Takes::Text(Text::RoleArn),
    "roleArn: arn:aws:iam::123456789012:role/orders",
    "The ARN of the role.",
)
.required();

const SESSION_NAME: Field = Field::new(
    "sessionName",
    Takes::Text(Text::Any),
    "sessionName: orders",
    "The name of the session in CloudTrail. Without it the client chooses a name.",
);

pub(super) const CREDENTIALS: Tagged = Tagged {
    what: "`awsCredentials`",
    example: "awsCredentials:\n  type: profile\n  profile: default",
    default: None,
    variants: &[
        Variant::new(
            "profile",
            "`awsCredentials` of type `profile`",
            "A profile of the AWS configuration files.",
            &[
                TYPE,
                Field::new("profile", Takes::Text(Text::Any), "profile: default", "The name of the profile.")
                    .required()
                    .or(&[Alias { name: "profileName", dialect: STATEFUN }]),
                Field::new(
                    "profilePath",
                    Takes::Text(Text::Path),
                    "profilePath: /etc/aws/credentials",
                    "A credentials file other than the usual one.",
                ),
            ],
        ),
        Variant::new(
            "basic",
            "`awsCredentials` of type `basic`",
            "Keys in the file. It is a warning, unless they are for a custom endpoint outside AWS or come from a \
             variable. They appear in no message and no log.",
            &[
                TYPE,
                Field::new(
                    "accessKeyId",
                    Takes::Text(Text::Secret),
                    "accessKeyId: <key id>",
                    "The id of the access key.",
                )
                .required(),
                Field::new(
                    "secretAccessKey",
                    Takes::Text(Text::Secret),
                    "secretAccessKey: <secret>",
                    "The secret of the access key.",
                )
                .required(),
                Field::new(
                    "sessionToken",
                    Takes::Text(Text::Secret),
                    "sessionToken: <token>",
                    "The session token of temporary keys. Temporary keys expire, so that a module that runs longer \
                     needs another type.",
                ),
            ],
        ),
        Variant::new(
            "web-identity",
            "`awsCredentials` of type `web-identity`",
            "A role that is assumed with a web identity token, as in pods on EKS (IRSA).",
            &[
                TYPE,
                ROLE_ARN,
                Field::new(
                    "tokenFile",
                    Takes::Text(Text::Path),
                    "tokenFile: /var/run/secrets/eks.amazonaws.com/serviceaccount/token",
                    "The file with the token. It is read again whenever the keys are renewed.",
                )
                .required(),
                SESSION_NAME,
            ],
        ),
        Variant::new(
            "assume-role",
            "`awsCredentials` of type `assume-role`",
            "A role that is assumed with the credentials of the AWS default chain, such as one of another account.",
            &[
                TYPE,
                ROLE_ARN,
                SESSION_NAME,
                Field::new(
                    "externalId",
                    Takes::Text(Text::Secret),
                    "externalId: <id>",
                    "The external id that the owner of the role requires.",
                ),
            ],
        ),
        Variant::new(
            "default",
            "`awsCredentials` of type `default`",
            "What the AWS default chain finds: environment, profile, SSO, web identity (IRSA), container, instance role.",
            &[TYPE],
        ),
    ],
};

pub(super) const CREDENTIALS_FIELD: Field = Field::new(
    "awsCredentials",
    Takes::Tagged(&CREDENTIALS),
    "awsCredentials:\n  type: default",
    "The credentials for calls to AWS.",
)
.default("{type: default}");

impl Decoder<'_> {
    /// The credentials for calls to AWS. `None` means that an error was reported; a field that is not there is the default.
    pub(super) fn credentials(
        &mut self,
        entry: Option<Entry<'_>>,
        region: Option<&Region>,
        settings: &Settings<'_>,
    ) -> Option<AwsCredentials> {
        let written = match entry {
            Some(entry) => self.credentials_field(entry, region),
            None => Some(AwsCredentials::Default),
        };
        let own = self.credentials_of_properties(region, settings);
        let (written, own) = (written?, own?);
        match own {
            Some((_, own)) if written == AwsCredentials::Default => Some(own),
            Some((property, own)) if own != written => {
                self.conflict(property, entry, "awsCredentials");
                None
            }
            _ => Some(written),
        }
    }

    fn credentials_field(&mut self, entry: Entry<'_>, region: Option<&Region>) -> Option<AwsCredentials> {
        let (name, object) = self.tagged(entry)?;
        match name {
            "profile" => {
                let name = object.get("profile").and_then(|entry| self.text(entry));
                let path = self.optional(object.get("profilePath"), Self::text);
                Some(AwsCredentials::Profile { name: name?.to_owned(), path: path?.map(PathBuf::from) })
            }
            "basic" => {
                let access_key_id = object.get("accessKeyId").and_then(|entry| self.secret(entry));
                let secret = object.get("secretAccessKey");
                let secret_access_key = secret.and_then(|entry| self.secret(entry));
                let session_token = self.optional(object.get("sessionToken"), Self::secret);
                if let Some(entry) = secret {
                    self.check_static_keys(entry, region);
                }
                Some(AwsCredentials::Basic {
                    access_key_id: access_key_id?,
                    secret_access_key: secret_access_key?,
                    session_token: session_token?,
                })
            }
            "web-identity" => {
                let role_arn = object.get("roleArn").and_then(|entry| self.role_arn(entry));
                let token_file = object.get("tokenFile").and_then(|entry| self.text(entry));
                let session_name = self.optional(object.get("sessionName"), Self::text);
                Some(AwsCredentials::WebIdentity {
                    role_arn: role_arn?,
                    token_file: token_file?.into(),
                    session_name: session_name?.map(str::to_owned),
                })
            }
            "assume-role" => {
                let role_arn = object.get("roleArn").and_then(|entry| self.role_arn(entry));
                let session_name = self.optional(object.get("sessionName"), Self::text);
                let external_id = self.optional(object.get("externalId"), Self::secret);
                Some(AwsCredentials::AssumeRole {
                    role_arn: role_arn?,
                    session_name: session_name?.map(str::to_owned),
                    external_id: external_id?,
                })
            }
            "default" => Some(AwsCredentials::Default),
            name => unreachable!("the table has a type of credentials `{name}` that is not read"),
        }
    }

    /// Warns of keys that stand in the file. A variable in their place is no key, and a stand-in of AWS takes any.
    fn check_static_keys(&mut self, secret: Entry<'_>, region: Option<&Region>) {
        if region.is_some_and(Region::is_stand_in) || secret.written().is_some_and(is_one_variable) {
            return;
        }
        let message = "this file has AWS keys in it: anyone who can read the file can use them";
        let help = "prefer a profile, or the default chain (environment, web identity, instance role)";
        self.findings.push(Finding::warning(Code::StaticKeys, secret.key, message).help(help.to_owned()));
    }

    /// The credentials that client properties name, with the property that does. `None` means that an error was
    /// reported.
    fn credentials_of_properties<'s>(
        &mut self,
        region: Option<&Region>,
        settings: &'s Settings<'_>,
    ) -> Option<Option<(Entry<'s>, AwsCredentials)>> {
        let text = |decoder: &mut Self, setting| decoder.optional(settings.get(setting), Self::text);
        let provider = match settings.get(Setting::Provider) {
            Some(entry) => Some((entry, self.word(entry)?)),
            // Flink takes keys for the provider that needs them.
            None => settings.get(Setting::SecretAccessKey).map(|entry| (entry, "BASIC")),
        };
        let Some((entry, provider)) = provider else {
            self.unused_settings(settings, &[], "without `aws.credentials.provider`");
            return Some(None);
        };
        let (used, credentials): (&[Setting], _) = match provider {
            "BASIC" => {
                let access_key_id = self.needed(entry, provider, settings, Setting::AccessKeyId);
                let secret = self.needed(entry, provider, settings, Setting::SecretAccessKey);
                if let Some(secret) = secret {
                    self.check_static_keys(secret, region);
                }
                let access_key_id = access_key_id.and_then(|entry| self.secret(entry));
                let secret_access_key = secret.and_then(|entry| self.secret(entry));
                let credentials = (|| {
                    Some(AwsCredentials::Basic {
                        access_key_id: access_key_id?,
                        secret_access_key: secret_access_key?,
                        session_token: None,
                    })
                })();
                (&[Setting::AccessKeyId, Setting::SecretAccessKey], credentials)
            }
            "PROFILE" => {
                let name = self.needed(entry, provider, settings, Setting::ProfileName);
                let name = name.and_then(|entry| self.text(entry));
                let path = text(self, Setting::ProfilePath);
                let credentials =
                    (|| Some(AwsCredentials::Profile { name: name?.to_owned(), path: path?.map(PathBuf::from) }))();
                (&[Setting::ProfileName, Setting::ProfilePath], credentials)
            }
            "ASSUME_ROLE" => {
                let role_arn = self.needed(entry, provider, settings, Setting::RoleArn);
                let role_arn = role_arn.and_then(|entry| self.role_arn(entry));
                let session_name = text(self, Setting::SessionName);
                let external_id = self.optional(settings.get(Setting::ExternalId), Self::secret);
                let credentials = (|| {
                    Some(AwsCredentials::AssumeRole {
                        role_arn: role_arn?,
                        session_name: session_name?.map(str::to_owned),
                        external_id: external_id?,
                    })
                })();
                (&[Setting::RoleArn, Setting::SessionName, Setting::ExternalId], credentials)
            }
            "WEB_IDENTITY_TOKEN" => {
                let used = &[Setting::RoleArn, Setting::SessionName, Setting::TokenFile];
                // Without a role and a file Flink takes both from the environment, where the default chain finds them.
                if used.iter().all(|setting| settings.get(*setting).is_none()) {
                    (used, Some(AwsCredentials::Default))
                } else {
                    let role_arn = self.needed(entry, provider, settings, Setting::RoleArn);
                    let token_file = self.needed(entry, provider, settings, Setting::TokenFile);
                    let role_arn = role_arn.and_then(|entry| self.role_arn(entry));
                    let token_file = token_file.and_then(|entry| self.text(entry));
                    let session_name = text(self, Setting::SessionName);
                    let credentials = (|| {
                        Some(AwsCredentials::WebIdentity {
                            role_arn: role_arn?,
                            token_file: token_file?.into(),
                            session_name: session_name?.map(str::to_owned),
                        })
                    })();
                    (used, credentials)
                }
            }
            "AUTO" => (&[], Some(AwsCredentials::Default)),
            _ => {
                let message = format!("the credentials provider `{provider}` is not supported");
                let help = "the AWS default chain is used instead, unless `awsCredentials` is set".to_owned();
                self.findings.push(Finding::warning(Code::PropertyWithoutEffect, entry.place(), message).help(help));
                (&[], Some(AwsCredentials::Default))
            }
        };
        self.unused_settings(settings, used, &format!("with the provider `{provider}`"));
        let credentials = credentials?;
        // What leaves it open contradicts nothing.
        Some((credentials != AwsCredentials::Default).then_some((entry, credentials)))
    }

    /// A property that another one needs.
    fn needed<'s>(
        &mut self,
        provider: Entry<'_>,
        name: &str,
        settings: &'s Settings<'_>,
        setting: Setting,
    ) -> Option<Entry<'s>> {
        let entry = settings.get(setting);
        if entry.is_none() {
            let message = format!("the credentials provider `{name}` needs the client property `{}`", setting.flink());
            let help = format!("set it, or write `awsCredentials` instead, where it is {}", setting.target());
            self.findings.push(Finding::error(Code::IncompleteSettings, provider.key, message).help(help));
        }
        entry
    }

    /// Warns of properties about credentials that the provider does not read.
    fn unused_settings(&mut self, settings: &Settings<'_>, used: &[Setting], why: &str) {
        const ALL: [Setting; 8] = [
            Setting::AccessKeyId,
            Setting::SecretAccessKey,
            Setting::ProfileName,
            Setting::ProfilePath,
            Setting::RoleArn,
            Setting::SessionName,
            Setting::ExternalId,
            Setting::TokenFile,
        ];
        for setting in ALL.into_iter().filter(|setting| !used.contains(setting)) {
            if let Some(entry) = settings.get(setting) {
                self.property_without_effect(entry.key, entry.name, &format!("it means nothing {why}"));
            }
        }
    }
}
