//! Changes that are too many to wait for the next interval.

use std::time::Duration;

use statefun_kinesis_functions::Limits;
use tokio::time::sleep;

use crate::scene::{Ask, STREAMS, Setting, World};

#[tokio::test(start_paused = true)]
async fn a_commit_is_made_early_when_much_has_changed() {
    // A limit that the changes of a few addresses reach, and an interval that does not end.
    let limits = Limits { unsaved_bytes: 1_000, ..Limits::default() };
    let setting = Setting { interval: Duration::from_secs(24 * 60 * 60), limits, ..Setting::default() };
    let mut world = World::new(setting, 1).await;
    for number in 0..200 {
        world.put(STREAMS[0], &format!("{}-{}", STREAMS[0], number % 20), number, Ask::Count).await;
    }
    let engine = world.start().await.unwrap();
    let done = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            engine.check();
            let functions = engine.functions.upgrade().unwrap();
            let (usage, status) = (functions.usage(), functions.checkpoint());
            let handled: u64 = functions.counts().iter().map(|(_, counts)| counts.messages_in).sum();
            if handled == 400 && usage.messages == 0 && status.commits > 0 {
                break;
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(600), done).await;
    assert!(
        done.is_ok(),
        "{:?}",
        engine.functions.upgrade().map(|functions| (functions.usage(), functions.checkpoint()))
    );
    engine.stop().await.unwrap();
}
