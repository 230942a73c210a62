//! The metrics of credentials, from a program that really gives some.

use std::{fs, path::Path, time::Duration};

use statefun_kinesis_types::{AwsCredentials, Timestamp};
use tokio::time::Instant;

use super::{
    get,
    grammar::Exposition,
    scene::{Scene, aws_with},
    starting,
};

const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// A profile whose program gives keys that expire then, or fails.
fn profile(folder: &Path, name: &str, expires: Option<Timestamp>) -> AwsCredentials {
    let (file, script) = (folder.join(format!("{name}.config")), folder.join(format!("{name}.sh")));
    fs::write(&file, format!("[profile {name}]\ncredential_process = sh {}\n", script.display())).unwrap();
    let program = match expires {
        Some(at) => format!(
            "echo '{{\"Version\": 1, \"AccessKeyId\": \"AKIDPROGRAM\", \"SecretAccessKey\": \"hunter2\", \
             \"SessionToken\": \"t\", \"Expiration\": \"{at}\"}}'\n"
        ),
        None => "exit 1\n".to_owned(),
    };
    fs::write(script, program).unwrap();
    AwsCredentials::Profile { name: name.to_owned(), path: Some(file) }
}

#[tokio::test]
async fn credentials_have_their_age_and_expiry_in_seconds_and_their_failures() {
    let folder = tempfile::tempdir().unwrap();
    let loading = Instant::now();
    let expiring = profile(folder.path(), "expiring", Some(Timestamp::now().after(LIFETIME)));
    let failing = profile(folder.path(), "failing", None);
    let aws = aws_with(&[("eu-west-1", expiring), ("us-west-2", failing)]).await;
    let mut scene = Scene::start_with(None, aws).await;
    let (monitored, _) = starting();
    monitored.reading(scene.sources());
    // Long enough to tell seconds from anything else.
    let scraped = loop {
        let scraped = Exposition::read(&get(&monitored, "/metrics").await.body);
        let age = scraped.value(&sample("age_seconds", "eu-west-1"));
        assert!((0.0..=loading.elapsed().as_secs_f64()).contains(&age), "{age} s of {:?}", loading.elapsed());
        if age >= 0.5 {
            break scraped;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (left, gone) = (scraped.value(&sample("expire_in_seconds", "eu-west-1")), loading.elapsed().as_secs_f64());
    let lifetime = LIFETIME.as_secs_f64();
    assert!((lifetime - gone - 0.01..lifetime - 0.4).contains(&left), "{left} s of {lifetime} s after {gone} s");
    assert_eq!(scraped.value(&sample("failures_total", "eu-west-1")), 0.0);

    assert_eq!(scraped.value(&sample("failures_total", "us-west-2")), 1.0);
    for name in ["age_seconds", "expire_in_seconds"] {
        let samples = scraped.samples(&format!("statefun_credentials_{name}"));
        assert_eq!(samples.len(), 1, "what was not loaded has no age: {samples:?}");
    }
    let ready = get(&monitored, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("us-west-2 cannot be signed") && !ready.body.contains("eu-west-1"), "{}", ready.body);
    scene.stop().await;
}

fn sample(name: &str, region: &str) -> String {
    format!("statefun_credentials_{name}{{region=\"{region}\",source=\"profile\"}}")
}
