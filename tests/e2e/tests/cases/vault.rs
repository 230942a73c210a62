//! A source of credentials that are short-lived, and a service that looks at them and at its clock as AWS does.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use hyper::HeaderMap;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use statefun_kinesis_e2e::{Canned, Case, Chance};
use tokio::time::{Instant, sleep};

/// The profile whose process asks the source.
pub(crate) const PROFILE: &str = "vault";

/// How long keys are good for. They are renewed when half of it is over.
const LIFETIME: Duration = Duration::from_secs(20);
/// How far a clock may be wrong, seconds: that of the service.
const TOLERANCE: i64 = 300;

/// The source: it issues keys every second while it is in order.
pub(crate) struct Vault {
    keys: PathBuf,
    /// Keys that were issued before are revoked, in milliseconds since 1970.
    revoked_before: AtomicI64,
    /// Seconds by which the clock of the service is ahead.
    ahead: AtomicI64,
    rejected: [AtomicU64; 3],
}

/// Why a signature is rejected.
#[derive(Clone, Copy, Debug)]
enum Rejected {
    Expired,
    Revoked,
    Clock,
}

fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Vault {
    /// Writes the profile, whose process prints the keys of the source.
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let keys = case.path("keys.json");
        fs::create_dir_all(case.path(".aws"))?;
        let process = case.file(
            "vault.sh",
            &format!("cat '{}' 2>/dev/null || {{ echo 'the vault is sealed' >&2; exit 1; }}\n", keys.display()),
        )?;
        case.file(
            ".aws/config",
            &format!("[profile {PROFILE}]\ncredential_process = /bin/sh {}\n", process.display()),
        )?;
        Ok(Self { keys, revoked_before: AtomicI64::new(0), ahead: AtomicI64::new(0), rejected: Default::default() })
    }

    /// Issues keys.
    pub(crate) fn deliver(&self) -> Result<()> {
        let issued = now();
        let expires = Timestamp::from_millisecond(issued)? + LIFETIME;
        let keys = serde_json::json!({
            "Version": 1,
            "AccessKeyId": format!("ASIA{issued:016}"),
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": expires.to_string(),
        });
        let written = self.keys.with_extension("new");
        fs::write(&written, keys.to_string())?;
        Ok(fs::rename(written, &self.keys)?)
    }

    /// Fails until then, for up to as long as keys are good for, and revokes keys in between.
    pub(crate) async fn fails(&self, mut chance: Chance, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.is_in_order(Instant::now() + chance.time(4_000, 12_000)).await?;
            if chance.number(0, 2) == 0 {
                self.deliver()?;
                self.revoked_before.store(now(), Ordering::Release);
                self.deliver()?;
                continue;
            }
            fs::remove_file(&self.keys)?;
            sleep(chance.time(1_000, 15_000)).await;
        }
        Ok(())
    }

    /// Issues keys until then.
    pub(crate) async fn is_in_order(&self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.deliver()?;
            sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Lets the clock of the service jump until then. In the end it is right.
    pub(crate) async fn clock_jumps(&self, mut chance: Chance, end: Instant) -> Result<()> {
        while Instant::now() < end {
            sleep(chance.time(3_000, 15_000)).await;
            let ahead = chance.number(TOLERANCE + 60, 7_200);
            self.ahead.store(*chance.one_of(&[ahead, -ahead]), Ordering::Release);
            sleep(chance.time(200, 5_000)).await;
            self.ahead.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// The service's opinion of a request.
    pub(crate) fn judges(&self, fields: &HeaderMap) -> Option<Canned> {
        let field = |name: &str| fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let ahead = self.ahead.load(Ordering::Acquire);
        let signed = DateTime::strptime("%Y%m%dT%H%M%SZ", field("x-amz-date")).ok()?;
        let signed = signed.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
        let here = now() / 1_000 + ahead;
        if here - signed > TOLERANCE {
            return Some(self.rejects(
                Rejected::Clock,
                "InvalidSignatureException",
                "Signature expired: it is now earlier",
            ));
        }
        if signed - here > TOLERANCE {
            return Some(self.rejects(
                Rejected::Clock,
                "InvalidSignatureException",
                "Signature not yet current: later",
            ));
        }
        let issued = field("authorization").split_once("Credential=ASIA")?.1.split('/').next()?.parse::<i64>().ok()?;
        if issued < self.revoked_before.load(Ordering::Acquire) {
            let text = "The security token included in the request is invalid.";
            return Some(self.rejects(Rejected::Revoked, "UnrecognizedClientException", text));
        }
        let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
        if issued + lifetime < now() {
            let text = "The security token included in the request is expired";
            return Some(self.rejects(Rejected::Expired, "ExpiredTokenException", text));
        }
        None
    }

    fn rejects(&self, why: Rejected, code: &str, message: &str) -> Canned {
        self.rejected[why as usize].fetch_add(1, Ordering::Relaxed);
        Canned::kinesis_error(400, code, message)
    }

    /// How many requests were rejected: for expired keys, for revoked ones, and for the clock.
    pub(crate) fn rejected(&self) -> [u64; 3] {
        self.rejected.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
