//! Who gets the next permit.

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

fn of(namespace: &str) -> Asker {
    Asker::Pods(Share::Mutating, namespace.into())
}

fn join(queue: &FairQueue, namespace: &str) -> Ticket {
    queue.join(queue.next_id(), of(namespace)).unwrap()
}

/// The permit, if it was given.
fn now(ticket: Ticket) -> Option<Permit> {
    ticket.permit().now_or_never().flatten()
}

fn is_called(ticket: &Ticket) -> bool {
    !ticket.called.is_empty()
}

#[test]
fn whoever_comes_after_a_thousand_of_somebody_else_is_next() {
    let queue = FairQueue::new(4);
    let mut held: Vec<_> = (0..4).map(|_| now(join(&queue, "many")).unwrap()).collect();
    let many: Vec<_> = (0..1000).map(|_| join(&queue, "many")).collect();
    let (first, second) = (join(&queue, "one"), join(&queue, "one"));
    held.pop();
    held.pop();
    assert!(is_called(&first) && is_called(&many[0]) && !is_called(&second) && !is_called(&many[1]));
    held.pop();
    held.pop();
    assert!(is_called(&second) && is_called(&many[1]));
}

#[test]
fn one_namespace_leaves_an_eighth_to_the_others() {
    let queue = FairQueue::new(16);
    let many: Vec<_> = (0..100).map(|_| join(&queue, "many")).collect();
    assert_eq!(many.iter().filter(|ticket| is_called(ticket)).count(), 14);
    assert!(is_called(&join(&queue, "one")));
    // Where there are few, nobody could use what is left.
    let few = FairQueue::new(4);
    let many: Vec<_> = (0..100).map(|_| join(&few, "many")).collect();
    assert_eq!(many.iter().filter(|ticket| is_called(ticket)).count(), 4);
}

#[test]
fn a_look_up_that_two_wait_for_stands_in_both_lines() {
    let queue = FairQueue::new(1);
    let held = now(join(&queue, "many")).unwrap();
    let _many: Vec<_> = (0..100).map(|_| join(&queue, "many")).collect();
    let id = queue.next_id();
    let shared = queue.join(id, of("many")).unwrap();
    for _ in 0..3 {
        queue.also_for(id, of("one"));
    }
    drop(held);
    let first = queue.lock().turns.front().cloned();
    assert_eq!(first, Some(of("one")));
    assert!(!is_called(&shared), "`many` was first");
    drop(_many);
    let permit = now(shared).unwrap();
    queue.also_for(id, of("two"));
    assert_eq!((queue.waiting(), queue.lock().lines.len()), (0, 0));
    drop(permit);
    assert_eq!(queue.lock().in_progress, 0);
}

#[test]
fn a_full_queue_takes_from_the_longest_line() {
    let queue = FairQueue::new(1);
    let held = now(join(&queue, "many")).unwrap();
    let mut many: Vec<_> = (0..LONGEST).map(|_| join(&queue, "many")).collect();
    assert!(queue.join(queue.next_id(), of("many")).is_err());
    let one = join(&queue, "one");
    assert_eq!(queue.waiting(), LONGEST);
    assert!(many.pop().unwrap().permit().now_or_never().unwrap().is_none(), "it had to leave");
    drop(many.drain(..1));
    drop(held);
    assert!(is_called(&one) || is_called(&many[0]));
}

#[test]
fn a_queue_is_long_for_whoever_has_a_long_line() {
    let queue = FairQueue::new(4);
    assert!(!queue.is_long_for(&of("one")));
    let _many: Vec<_> = (0..100).map(|_| join(&queue, "many")).collect();
    let _one = join(&queue, "one");
    assert!(queue.is_long_for(&of("many")) && !queue.is_long_for(&of("one")));
    let _others: Vec<_> = (0..4).map(|n| join(&queue, &n.to_string())).collect();
    assert!(queue.is_long_for(&of("one")), "many come before its turn");
}

/// What may happen to a queue.
#[derive(Debug, Clone)]
enum Event {
    Join(u8),
    Also(usize, u8),
    /// The ticket with this index gives up, whether it was called or not.
    GiveUp(usize),
    /// The ticket with this index takes its permit, if it was called.
    Take(usize),
    /// The look-up with this index ends.
    End(usize),
    Resize(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Event::Join),
        2 => (any::<usize>(), 0..4_u8).prop_map(|(at, who)| Event::Also(at, who)),
        1 => any::<usize>().prop_map(Event::GiveUp),
        3 => any::<usize>().prop_map(Event::Take),
        3 => any::<usize>().prop_map(Event::End),
        1 => (0..20_u32).prop_map(Event::Resize),
    ]
}

proptest! {
    #[test]
    fn permits_are_never_lost_and_never_too_many(events in prop::collection::vec(event(), 0..200)) {
        let queue = FairQueue::new(4);
        let (mut tickets, mut permits): (Vec<Ticket>, Vec<Permit>) = (Vec::new(), Vec::new());
        let (mut limit, mut most) = (4, 4);
        for event in events {
            match event {
                Event::Join(who) => tickets.push(join(&queue, &who.to_string())),
                Event::Also(at, who) if !tickets.is_empty() => {
                    queue.also_for(tickets[at % tickets.len()].id, of(&who.to_string()));
                }
                Event::GiveUp(at) if !tickets.is_empty() => drop(tickets.swap_remove(at % tickets.len())),
                Event::Take(at) if !tickets.is_empty() => {
                    let at = at % tickets.len();
                    if is_called(&tickets[at]) {
                        permits.push(now(tickets.swap_remove(at)).unwrap());
                    }
                }
                Event::End(at) if !permits.is_empty() => drop(permits.swap_remove(at % permits.len())),
                Event::Resize(to) => {
                    queue.resize(to);
                    limit = super::permits(to);
                }
                _ => {}
            }
            let called = tickets.iter().filter(|ticket| is_called(ticket)).count();
            let in_progress = called + permits.len();
            // After a smaller limit those in progress end first.
            most = limit.max(most.min(in_progress));
            prop_assert!(in_progress <= most);
            let state = queue.lock();
            prop_assert_eq!((state.in_progress, state.held.values().sum::<usize>()), (in_progress, in_progress));
            prop_assert_eq!(state.waiting.len(), tickets.len() - called);
            prop_assert_eq!(state.turns.len(), state.lines.len());
            prop_assert!(state.lines.values().all(|line| !line.is_empty()));
            // Nobody waits who could be served.
            let share = limit - limit / RESERVE;
            let could = |asker: &Asker| state.held.get(&asker.holder()).is_none_or(|held| *held < share);
            prop_assert!(in_progress >= limit || !state.turns.iter().any(could));
        }
        drop(tickets);
        drop(permits);
        let state = queue.lock();
        prop_assert_eq!((state.in_progress, state.waiting.len(), state.lines.len()), (0, 0, 0));
    }
}

fn at(share: Share, namespace: &str) -> Asker {
    Asker::Pods(share, namespace.into())
}

#[test]
fn at_both_doors_together_one_namespace_leaves_an_eighth_to_the_others() {
    let queue = FairQueue::new(16);
    let _many: Vec<_> = (0..100).map(|_| join(&queue, "many")).collect();
    let second = |name: &str| queue.join(queue.next_id(), at(Share::Validating, name)).unwrap();
    let at_second: Vec<_> = (0..100).map(|_| second("many")).collect();
    assert!(!at_second.iter().any(is_called), "it has its seven eighths at the first door");
    assert!(is_called(&second("one")) && is_called(&join(&queue, "two")));
    // Its own doors still take turns.
    drop(_many);
    assert_eq!(at_second.iter().filter(|ticket| is_called(ticket)).count(), 14);
}

/// However many namespaces wait at the mutating door, every second permit is for the validating one.
#[test]
fn the_doors_take_turns_however_many_wait_at_one_of_them() {
    let queue = FairQueue::new(2);
    let mut held: Vec<_> = (0..2).map(|n| now(join(&queue, &format!("held{n}"))).unwrap()).collect();
    let many: Vec<_> = (0..300).map(|n| join(&queue, &format!("many{n}"))).collect();
    let second = |name: &str| queue.join(queue.next_id(), at(Share::Validating, name)).unwrap();
    let (first, next) = (second("bank"), second("shop"));
    held.pop();
    assert!(is_called(&first) && !is_called(&many[0]), "the last permit was for the mutating door");
    held.pop();
    assert!(is_called(&many[0]) && !is_called(&next));
    drop(now(first).unwrap());
    assert!(is_called(&next) && !is_called(&many[1]));
    // Where nobody waits at one door, the other has all permits.
    drop(now(next).unwrap());
    assert!(is_called(&many[1]));
    assert_eq!(many.iter().filter(|ticket| is_called(ticket)).count(), 2);
}

/// What fills the queue at one door leaves half of it to the other one, whoever has the longer line.
#[test]
fn a_full_queue_of_one_door_makes_room_for_the_other() {
    let queue = FairQueue::new(1);
    let _held = now(join(&queue, "held")).unwrap();
    // Each in a line of its own: no line is longer than another.
    let mut many: Vec<_> = (0..LONGEST).map(|n| join(&queue, &format!("many{n}"))).collect();
    let second = || queue.join(queue.next_id(), at(Share::Validating, "bank"));
    let mut own: Vec<_> = (0..LONGEST / 2).map(|_| second().unwrap()).collect();
    assert!(second().is_err(), "its half, and no line is longer");
    assert_eq!(queue.waiting(), LONGEST);
    let gone = |tickets: &mut [Ticket]| {
        let said = tickets.iter_mut().map(|ticket| ticket.called.try_recv());
        said.filter(|said| *said == Err(oneshot::error::TryRecvError::Closed)).count()
    };
    assert_eq!((gone(&mut many), gone(&mut own)), (LONGEST / 2, 0));
}
