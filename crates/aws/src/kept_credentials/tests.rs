use std::{collections::VecDeque, time::SystemTime};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Follows Tokio's clock, which tests pause.
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.0.elapsed())
    }
}

/// What a source does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Gives keys that are good for that long; without a time, for ever.
    Gives(Option<Duration>),
    Fails,
    Hangs,
}

/// A source whose keys have the number of the question as their name.
#[derive(Debug)]
struct Source {
    clock: Arc<TestClock>,
    asked: Mutex<u64>,
    plan: Mutex<VecDeque<Does>>,
    /// What it does when the plan is over.
    then: Mutex<Does>,
}

impl Source {
    fn new(plan: impl IntoIterator<Item = Does>, then: Does) -> Arc<Self> {
        let clock = Arc::new(TestClock(Instant::now()));
        let plan = Mutex::new(plan.into_iter().collect());
        Arc::new(Self { clock, asked: Mutex::new(0), plan, then: Mutex::new(then) })
    }

    fn kept(self: &Arc<Self>) -> KeptCredentials {
        let source = Arc::clone(self);
        KeptCredentials::new(Arc::clone(&self.clock) as Arc<_>, move || {
            let provider = SharedCredentialsProvider::new(Provider(Arc::clone(&source)));
            async { provider }
        })
    }

    fn asked(&self) -> u64 {
        *self.asked.lock().unwrap()
    }

    fn set(&self, does: Does) {
        *self.then.lock().unwrap() = does;
    }

    async fn answer(&self) -> Result<Credentials, CredentialsError> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        let does = self.plan.lock().unwrap().pop_front().unwrap_or(*self.then.lock().unwrap());
        // A source takes time, so that calls may come meanwhile.
        sleep(Duration::from_millis(50)).await;
        match does {
            Does::Gives(lifetime) => {
                let expires = lifetime.map(|lifetime| self.clock.now().after(lifetime));
                let expires = expires
                    .map(|at| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap()));
                Ok(Credentials::new(number.to_string(), "secret", None, expires, "test"))
            }
            Does::Fails => Err(CredentialsError::provider_error(std::io::Error::other("exit status 1"))),
            Does::Hangs => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
struct Provider(Arc<Source>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.answer())
    }
}

/// The name of the keys that a call gets.
async fn key(kept: &KeptCredentials) -> Result<String, CredentialsError> {
    kept.provide().await.map(|credentials| credentials.access_key_id().to_owned())
}

#[tokio::test(start_paused = true)]
async fn credentials_are_used_until_they_expire_whatever_their_source_does() {
    for trouble in [Does::Fails, Does::Hangs] {
        let source = Source::new([Does::Gives(Some(HOUR))], trouble);
        let kept = source.kept();
        let start = Instant::now();
        while start.elapsed() < HOUR - 15 * SECOND {
            assert_eq!(key(&kept).await.unwrap(), "1", "{trouble:?} at {:?}", start.elapsed());
            sleep(10 * SECOND).await;
        }
        assert!(kept.status().is_usable(source.clock.now()) && kept.status().failures > 0);
        assert!((5..30).contains(&source.asked()), "asked {} times in the last ten minutes", source.asked());
        sleep(20 * SECOND).await;
        assert!(key(&kept).await.is_err(), "{trouble:?}");
        assert!(!kept.status().is_usable(source.clock.now()));

        source.set(Does::Gives(None));
        sleep(2 * SECOND).await;
        assert_eq!(key(&kept).await.unwrap(), source.asked().to_string());
        let status = kept.status();
        assert!(status.is_usable(source.clock.now()) && status.failing_since.is_none() && status.expires_at.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_reloaded_before_they_expire_and_no_call_waits_for_it() {
    // 18 s: what a `credential_process` may give.
    for (lifetime, every) in [(HOUR, 30 * SECOND), (18 * SECOND, SECOND)] {
        // Each second attempt fails.
        let source = Source::new([], Does::Gives(Some(lifetime)));
        source.plan.lock().unwrap().extend((0..400).map(|n| match n % 2 {
            0 => Does::Gives(Some(lifetime)),
            _ => Does::Fails,
        }));
        let kept = source.kept();
        key(&kept).await.unwrap();
        for _ in 0..1_000 {
            sleep(every).await;
            let before = Instant::now();
            key(&kept).await.unwrap();
            assert_eq!(before.elapsed(), Duration::ZERO, "no call waits");
        }
        let loads = 1_000 * every.as_millis() / (lifetime.as_millis() / 2);
        assert!(u128::from(source.asked()) <= 2 * loads + 10, "{lifetime:?}: asked {} times", source.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_credentials_are_reloaded_once() {
    let source = Source::new([], Does::Gives(None));
    let kept = source.kept();
    assert_eq!(key(&kept).await.unwrap(), "1");
    kept.rejected();
    assert_eq!(key(&kept).await.unwrap(), "1", "the answer is about a call from before");
    sleep(2 * SECOND).await;
    assert_eq!(key(&kept).await.unwrap(), "1", "keys that do not expire are not loaded again");
    // Many calls were rejected, and all of them are repeated.
    (0..100).for_each(|_| kept.rejected());
    let keys = futures::future::join_all((0..100).map(|_| key(&kept))).await;
    assert!(keys.into_iter().all(|key| key.unwrap() == "2"));
    assert_eq!(source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn rejected_credentials_stay_in_use_while_their_source_fails() {
    let source = Source::new([Does::Gives(None)], Does::Fails);
    let kept = source.kept();
    assert_eq!(key(&kept).await.unwrap(), "1");
    sleep(2 * SECOND).await;
    kept.rejected();
    // The clock may have been at fault, and the next call may be accepted.
    assert_eq!(key(&kept).await.unwrap(), "1");
    source.set(Does::Gives(None));
    sleep(2 * SECOND).await;
    assert_ne!(key(&kept).await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn many_calls_ask_the_source_once() {
    for does in [Does::Gives(None), Does::Fails, Does::Hangs] {
        let source = Source::new([], does);
        let kept = source.kept();
        let before = Instant::now();
        let keys = futures::future::join_all((0..500).map(|_| key(&kept))).await;
        assert_eq!(source.asked(), 1, "{does:?}");
        assert!(before.elapsed() <= LOAD_TIMEOUT, "{does:?}");
        assert!(keys.iter().all(|key| key.is_ok() == matches!(does, Does::Gives(_))), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_its_kind_and_its_causes_for_each_call() {
    let source = Source::new([], Does::Fails);
    let kept = source.kept();
    for call in ["the one that asked", "one right after it"] {
        let error = kept.provide().await.unwrap_err();
        assert!(matches!(error, CredentialsError::ProviderError(_)), "{call}: {error:?}");
        let chain = ErrorChain(&error).to_string();
        assert!(chain.ends_with("exit status 1") && chain.matches("exit status 1").count() == 1, "{call}: {chain}");
    }
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_expired_are_left_to_the_service_to_judge() {
    let source = Source::new([], Does::Gives(Some(Duration::ZERO)));
    let kept = source.kept();
    for _ in 0..100 {
        key(&kept).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert!(source.asked() <= 12, "asked {} times in ten seconds", source.asked());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_asks_its_source_no_more() {
    let source = Source::new([Does::Gives(Some(HOUR))], Does::Fails);
    let kept = source.kept();
    key(&kept).await.unwrap();
    sleep(HOUR - 300 * SECOND).await;
    key(&kept).await.unwrap();
    sleep(10 * SECOND).await;
    let asked = source.asked();
    assert!(asked > 1);
    drop(kept);
    sleep(HOUR).await;
    assert!(source.asked() <= asked + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the source does and whatever is rejected: a call gets credentials as long as some have not expired, and
    /// the source is asked about once a second at most.
    #[test]
    fn a_call_is_signed_as_long_as_any_credentials_are_good(
        steps in prop::collection::vec((0_u64..90, 0_u8..6, 20_u64..400), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let source = Source::new([Does::Gives(Some(100 * SECOND))], Does::Fails);
            let kept = source.kept();
            let start = Instant::now();
            prop_assert!(key(&kept).await.is_ok());
            for (pause, what, lifetime) in steps {
                source.set(match what {
                    0 | 1 => Does::Fails,
                    2 => Does::Hangs,
                    _ => Does::Gives(Some(Duration::from_secs(lifetime))),
                });
                if what == 5 {
                    kept.rejected();
                }
                for _ in 0..pause {
                    let good = kept.status().is_usable(source.clock.now());
                    let before = Instant::now();
                    let got = key(&kept).await;
                    // Rejected credentials are loaded first, and may expire meanwhile.
                    let still = before.elapsed() < SECOND || kept.status().is_usable(source.clock.now());
                    prop_assert!(got.is_ok() || !good || !still, "{got:?}");
                    sleep(SECOND).await;
                }
            }
            prop_assert!(source.asked() <= 3 + start.elapsed().as_secs(), "asked {} times", source.asked());
            Ok(())
        })?;
    }
}
