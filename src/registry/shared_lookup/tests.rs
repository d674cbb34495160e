//! Who gets which answer, and who starts a look-up.

use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn shared() -> SharedLookup<u8, u32> {
    SharedLookup::new(LONG, Tasks::default())
}

async fn answers(value: u32, ttl: Duration) -> LookedUp<u32> {
    LookedUp { result: Ok(value), ttl }
}

/// Starts a look-up, and stops waiting at once.
async fn given_up(asked: impl Future<Output = Result<u32, Unknown>>) {
    let asked = tokio::time::timeout(Duration::ZERO, asked).await;
    assert!(asked.is_err(), "{asked:?}");
}

/// The measured trap: callers that give up must neither abort the look-up nor repeat it.
#[tokio::test]
async fn a_look_up_survives_its_callers() {
    let shared = shared();
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let look_up = || {
        let (asked, gate) = (asked.clone(), gate.clone());
        async move {
            asked.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            LookedUp { result: Ok(7), ttl: LONG }
        }
    };
    for _ in 0..8 {
        given_up(shared.get(1, look_up())).await;
    }
    gate.add_permits(1);
    assert_eq!(shared.get(1, look_up()).await, Ok(7));
    assert_eq!(shared.fresh(&1), Some(Ok(7)));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_no_longer_fresh_is_asked_again() {
    let shared = shared();
    assert_eq!(shared.get(1, answers(1, Duration::ZERO)).await, Ok(1));
    assert_eq!(shared.get(1, answers(2, Duration::ZERO)).await, Ok(2));
    shared.put(1, LookedUp { result: Ok(3), ttl: LONG });
    assert_eq!(shared.get(1, answers(4, LONG)).await, Ok(3));
    shared.outdate();
    assert_eq!(shared.get(1, answers(5, LONG)).await, Ok(5));
}

#[tokio::test]
async fn the_last_success_is_known_after_a_failure() {
    let shared = shared();
    let failure = || Err(Unknown::new(Cause::Deadline, "slow"));
    let fails = || async move { LookedUp { result: failure(), ttl: Duration::ZERO } };
    assert_eq!(shared.get(1, fails()).await, failure());
    assert_eq!(shared.last(&1), None);
    assert_eq!(shared.get(1, answers(1, Duration::ZERO)).await, Ok(1));
    assert_eq!(shared.get(1, fails()).await, failure());
    assert_eq!(shared.last(&1), Some((1, Age::Current)));
    shared.outdate();
    assert_eq!(shared.last(&1), Some((1, Age::Outdated)));
    shared.forget();
    assert_eq!(shared.last(&1), None);
    assert_eq!(shared.get(1, answers(2, Duration::ZERO)).await, Ok(2));
    assert_eq!(shared.last(&1), Some((2, Age::Current)));
}

/// Whoever asks after the change is not told what was asked before it, even if that answer comes last.
#[tokio::test]
async fn a_look_up_from_before_a_change_is_not_told_after_it() {
    let shared = shared();
    let (gate, landed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let old = |value| {
        let (gate, landed) = (gate.clone(), landed.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            landed.add_permits(1);
            LookedUp { result: Ok(value), ttl: LONG }
        }
    };
    given_up(shared.get(1, old(1))).await;
    given_up(shared.get(2, old(1))).await;
    shared.forget();
    assert_eq!(shared.get(1, answers(2, LONG)).await, Ok(2));
    gate.add_permits(2);
    landed.acquire_many(2).await.unwrap().forget();
    tokio::task::yield_now().await;
    assert_eq!(shared.fresh(&1), Some(Ok(2)));
    assert_eq!(shared.last(&2), None, "it was forgotten while it was being learned");
}

#[tokio::test]
async fn only_the_value_that_was_refused_is_forgotten() {
    let shared = shared();
    assert_eq!(shared.get(1, answers(1, LONG)).await, Ok(1));
    shared.forget_if(&1, |value| *value == 2);
    assert_eq!(shared.fresh(&1), Some(Ok(1)));
    shared.forget_if(&1, |value| *value == 1);
    assert_eq!(shared.fresh(&1), None);
}

/// Our own shutdown says nothing of the registry, and close waits for the task.
#[tokio::test]
async fn a_look_up_that_we_end_ourselves_is_an_internal_cause() {
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let tasks = Tasks::default();
    let shared: SharedLookup<u8, u32> = SharedLookup::new(LONG, tasks.clone());
    let ended = Arc::new(AtomicUsize::new(0));
    let guard = OnDrop(ended.clone());
    let never = async move {
        let _guard = guard;
        std::future::pending().await
    };
    let (told, ()) = tokio::join!(shared.get(1, never), async {
        tasks.close().await;
        assert_eq!(ended.load(Ordering::SeqCst), 1, "close returned before the look-up had ended");
    });
    assert_eq!(told.map_err(|unknown| unknown.cause), Err(Cause::Internal));
    assert_eq!(shared.fresh(&1), None, "it is no answer");
    let died = self::shared().get(1, async { panic!("a bug") }).await;
    assert_eq!(died.map_err(|unknown| unknown.cause), Err(Cause::Internal));
}
