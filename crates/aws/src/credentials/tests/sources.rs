//! Each source of credentials with the SDK's own provider of it: works, fails once, fails for longer than its keys are good,
//! and comes back.

use std::time::Duration;

use statefun_kinesis_client::{ErrorKind, Retry};
use statefun_kinesis_types::AwsCredentials;
use tokio::{task::JoinSet, time::Instant};

use super::{
    PAUSE,
    stage::{CONTROL, LIFETIME, Stage, configured, obey},
};

/// Defines the sources, and the list of all.
macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Source {
            $($(#[$doc])* $name,)*
        }

        impl Source {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

sources! {
    /// Keys in the module file.
    Basic,
    /// Keys in variables.
    Environment,
    /// Keys in a profile.
    ProfileKeys,
    /// A profile with `credential_process`.
    Process,
    /// A profile with `sso_session`.
    SsoSession,
    /// A profile with `sso_start_url`, as older ones have.
    SsoStartUrl,
    /// A role for a token.
    WebIdentity,
    /// The same by variables (IRSA).
    ChainWebIdentity,
    /// A role, assumed with the keys of variables.
    AssumeRole,
    /// A profile with `role_arn` and `source_profile`.
    ProfileRole,
    /// ECS and EKS Pod Identity.
    Container,
    /// The metadata service of EC2.
    Instance,
}

/// How a source can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It answers, or ends, with an error.
    Fails,
    /// It does not give the role: a session that has ended, a policy that was changed.
    Refuses,
    /// What it needs has expired: the session of SSO, the token of a web identity.
    Expired,
    /// It does not answer.
    Unreachable,
    /// A file that it needs is not there.
    FileGone,
}

/// A failure for longer than the keys are good: its kind, and what the message and its causes say. The first names the source.
type Told = (Trouble, ErrorKind, &'static [&'static str]);

impl Source {
    /// The file without which the source has nothing.
    pub(super) fn file(self) -> Option<&'static str> {
        match self {
            Self::ProfileKeys => Some(".aws/credentials"),
            // The name is the SHA-1 of the session's name, or of the URL.
            Self::SsoSession => Some(".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json"),
            Self::SsoStartUrl => Some(".aws/sso/cache/c2e09b4fac288e7a35fb1a0f7b55446a509137e5.json"),
            Self::WebIdentity | Self::ChainWebIdentity => Some("token"),
            Self::Basic
            | Self::Environment
            | Self::Process
            | Self::AssumeRole
            | Self::ProfileRole
            | Self::Container
            | Self::Instance => None,
        }
    }

    /// The table: how a source fails, and what is told when that outlasts the keys.
    fn told(self) -> &'static [Told] {
        use ErrorKind::{AccessDenied, Unavailable};
        use Trouble::{Expired, Fails, FileGone, Refuses, Unreachable};

        match self {
            // They are in the module file or in the environment of the process: nothing that can fail.
            Self::Basic | Self::Environment => &[],
            // Such keys have no expiry: they stay in use, and no call fails.
            Self::ProfileKeys => &[(FileGone, Unavailable, &[])],
            Self::Process => &[(Fails, Unavailable, &["the profile `p`", "exit status: 1", "the vault is sealed"])],
            Self::SsoSession | Self::SsoStartUrl => &[
                (Expired, AccessDenied, &["the profile `p`", "SSO", "`aws sso login`"]),
                (Fails, Unavailable, &["the profile `p`", "SSO", "the vault is sealed"]),
                (Unreachable, Unavailable, &["the profile `p`", "SSO", "connection closed"]),
                (Refuses, AccessDenied, &["the profile `p`", "SSO", "`aws sso login`", "the session has ended"]),
                (FileGone, AccessDenied, &["the profile `p`", "SSO", "`aws sso login`"]),
            ],
            Self::WebIdentity => &[
                (Expired, AccessDenied, &["role/reader", "/token`", "STS", "see that its file is renewed"]),
                (Fails, Unavailable, &["role/reader", "STS", "the vault is sealed"]),
                (Unreachable, Unavailable, &["role/reader", "STS", "connection closed"]),
                (Refuses, AccessDenied, &["role/reader", "STS", "trust policy", "not your role"]),
                (FileGone, AccessDenied, &["role/reader", "/token`", "the web identity token", "No such file"]),
            ],
            Self::ChainWebIdentity => &[
                (Expired, AccessDenied, &["default chain", "STS", "see that its file is renewed"]),
                (Fails, Unavailable, &["default chain", "STS", "the vault is sealed"]),
                (Unreachable, Unavailable, &["default chain", "STS", "connection closed"]),
                (Refuses, AccessDenied, &["default chain", "STS", "trust policy", "not your role"]),
                (FileGone, AccessDenied, &["default chain", "AWS_WEB_IDENTITY_TOKEN_FILE", "No such file"]),
            ],
            Self::AssumeRole => &[
                (Fails, Unavailable, &["role/reader", "STS", "the vault is sealed"]),
                (Unreachable, Unavailable, &["role/reader", "STS", "connection closed"]),
                (Refuses, AccessDenied, &["role/reader", "STS", "trust policy", "not your role"]),
            ],
            Self::ProfileRole => &[
                (Fails, Unavailable, &["the profile `p`", "STS", "the vault is sealed"]),
                (Unreachable, Unavailable, &["the profile `p`", "STS", "connection closed"]),
                (Refuses, AccessDenied, &["the profile `p`", "STS", "trust policy", "not your role"]),
            ],
            Self::Container => &[
                (Fails, Unavailable, &["default chain", "HTTP credential provider", "500"]),
                (Unreachable, Unavailable, &["default chain", "container", "connection closed"]),
            ],
            // The SDK says of an error of the service only that it gave no token.
            Self::Instance => &[
                (Fails, Unavailable, &["default chain", "IMDS"]),
                (Unreachable, Unavailable, &["default chain", "IMDS", "connection closed"]),
            ],
        }
    }

    /// Whether its keys expire.
    fn expires(self) -> bool {
        match self {
            Self::Basic | Self::Environment | Self::ProfileKeys => false,
            Self::Process
            | Self::SsoSession
            | Self::SsoStartUrl
            | Self::WebIdentity
            | Self::ChainWebIdentity
            | Self::AssumeRole
            | Self::ProfileRole
            | Self::Container
            | Self::Instance => true,
        }
    }
}

/// The sources that stand for a kind of credentials. A new kind does not compile without one.
fn sources_of(credentials: &AwsCredentials) -> &'static [Source] {
    match credentials {
        AwsCredentials::Default => {
            &[Source::Environment, Source::ChainWebIdentity, Source::Container, Source::Instance]
        }
        AwsCredentials::Profile { .. } => {
            &[Source::ProfileKeys, Source::Process, Source::SsoSession, Source::SsoStartUrl, Source::ProfileRole]
        }
        AwsCredentials::Basic { .. } => &[Source::Basic],
        AwsCredentials::WebIdentity { .. } => &[Source::WebIdentity],
        AwsCredentials::AssumeRole { .. } => &[Source::AssumeRole],
    }
}

#[test]
fn each_source_is_of_the_kind_that_it_stands_for() {
    for source in Source::ALL {
        let credentials = configured(*source, std::path::Path::new("."));
        assert!(sources_of(&credentials).contains(source), "{source:?}");
        assert_eq!(source.expires(), source.told().iter().any(|(_, _, says)| !says.is_empty()), "{source:?}");
    }
}

const TEST: &str = "credentials::tests::sources::each_source_works_fails_and_comes_back";

/// Environment variables belong to a process, so each source has one: this test again, with a client to control.
#[tokio::test]
async fn each_source_works_fails_and_comes_back() {
    if let Ok(control) = std::env::var(CONTROL) {
        return obey(&control).await;
    }
    let mut running = JoinSet::new();
    for source in Source::ALL.iter().copied() {
        if source.expires() {
            running.spawn(starts(source));
            for told in source.told() {
                running.spawn(expiring(source, *told));
            }
        } else {
            running.spawn(lasting(source));
        }
    }
    let mut failed = 0;
    while let Some(ended) = running.join_next().await {
        failed += usize::from(ended.is_err());
    }
    assert_eq!(failed, 0, "the messages above say which sources");
}

/// A source that fails at the start: it is waited for.
async fn starts(source: Source) {
    let mut stage = Stage::new(source, TEST, Some(Trouble::Fails)).await;
    let (kind, chain) = stage.call().await.outcome.unwrap_err();
    assert!(kind.treatment().start_waits, "{source:?} at the start: {kind:?}: {chain}");
    let key = stage.give_new_keys();
    back_with(&mut stage, source, &key).await;
}

/// A source whose keys expire.
async fn expiring(source: Source, (trouble, kind, says): Told) {
    let about = format!("{source:?}, {trouble:?}");
    let mut stage = Stage::new(source, TEST, None).await;
    let first = stage.call().await;
    assert_eq!((first.outcome.is_ok(), first.failures), (true, 0), "{about}: {first:?}");
    let key = first.outcome.unwrap();

    // Once: the keys in use stay, and the source is asked again in the background.
    stage.trouble(trouble);
    stage.advance(LIFETIME - Duration::from_secs(300)).await;
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let called = stage.call().await;
        assert_eq!(called.outcome.as_ref(), Ok(&key), "{about}, once");
        if called.failures > 0 {
            break;
        }
        assert!(Instant::now() < give_up, "{about}: the source is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let key = stage.give_new_keys();
    back_with(&mut stage, source, &key).await;

    // For longer than the keys are good.
    stage.trouble(trouble);
    stage.advance(LIFETIME + Duration::from_secs(1)).await;
    let give_up = Instant::now() + Duration::from_secs(60);
    let called = loop {
        let called = stage.call().await;
        match &called.outcome {
            // Keys that seem to come expired are used for a moment: the clock may be wrong.
            Ok(signed) => assert!(*signed == key && Instant::now() < give_up, "{about}: {called:?}"),
            Err(_) => break called,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (got, chain) = called.outcome.unwrap_err();
    assert_eq!(got, kind, "{about}: {chain}");
    for secret in ["hunter2", "sso-token", "jwt"] {
        assert!(!chain.contains(secret), "{about}: {chain}");
    }
    for says in says {
        assert!(chain.contains(says), "{about} has to say `{says}`: {chain}");
    }
    if kind == ErrorKind::Unavailable {
        assert_eq!(got.treatment().retry, Retry::Unlimited);
    }
    tokio::time::sleep(PAUSE).await;
    let again = stage.call().await;
    assert!(again.failures > called.failures && again.is_failing, "{about}: asked again");

    let key = stage.give_new_keys();
    back_with(&mut stage, source, &key).await;
}

/// Calls until the new keys sign, while each call is signed or fails because the keys have expired.
async fn back_with(stage: &mut Stage, source: Source, key: &str) {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let called = stage.call().await;
        if called.outcome.as_ref().is_ok_and(|signed| signed == key) {
            assert!(!called.is_failing, "{source:?}");
            return;
        }
        assert!(Instant::now() < give_up, "{source:?} does not come back: {called:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A source whose keys do not expire: they are replaced when Kinesis rejects them.
async fn lasting(source: Source) {
    let mut stage = Stage::new(source, TEST, None).await;
    let key = stage.call().await.outcome.unwrap();
    stage.advance(1_000 * LIFETIME).await;
    assert_eq!(stage.call().await.outcome.as_ref(), Ok(&key), "{source:?}: good for ever");
    for (trouble, ..) in source.told() {
        stage.trouble(*trouble);
        tokio::time::sleep(PAUSE).await;
        stage.reject(&key);
        let (kind, _) = stage.call().await.outcome.unwrap_err();
        assert_eq!(kind, ErrorKind::ExpiredCredentials, "{source:?}");
        // The file is gone: what is known is still tried, because Kinesis may be wrong.
        stage.accept_all();
        let called = stage.call().await;
        assert_eq!(called.outcome.as_ref(), Ok(&key), "{source:?}");
        assert!(called.is_failing && called.failures > 0, "{source:?}: {called:?}");
    }
    let new = stage.give_new_keys();
    if source.told().is_empty() {
        // The process would have to be started with other keys.
        stage.reject(&key);
        for _ in 0..2 {
            tokio::time::sleep(PAUSE).await;
            assert_eq!(stage.call().await.outcome.unwrap_err().0, ErrorKind::ExpiredCredentials, "{source:?}");
        }
    } else {
        back_with(&mut stage, source, &new).await;
    }
}
