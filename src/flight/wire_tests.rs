#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

const MIB: u64 = 1 << 20;

fn wire() -> Arc<Wire> {
    let mut limits = Limits::of(&Config::default());
    limits.bytes_max = 128 * MIB;
    limits.connection_bytes_max = 64 * MIB;
    limits.wait = Duration::from_millis(50);
    limits.connections_max = 3;
    Wire::new(limits)
}

#[tokio::test]
async fn a_connection_has_a_share_and_all_have_a_budget() {
    let wire = wire();
    let first = wire.connect().unwrap();
    let held = first.charge(60 * MIB).await.unwrap();
    let fault = first.charge(5 * MIB).await.unwrap_err();
    assert!(
        fault.message.contains("limits.connection_bytes_max"),
        "{fault}"
    );
    // Large ones leave the last quarter to those that hold little.
    let second = wire.connect().unwrap();
    let fault = second.charge(40 * MIB).await.unwrap_err();
    assert_eq!(&*fault.reason, "wire_full");
    assert!(fault.message.contains("memory.wire_bytes_max"), "{fault}");
    let _more = second.charge(36 * MIB).await.unwrap();
    assert!(second.charge(2 * MIB).await.is_err());
    let third = wire.connect().unwrap();
    let _small = third.charge(MIB).await.unwrap();
    assert_eq!(wire.held_bytes(), 97 * MIB);
    drop(held);
    assert_eq!(wire.held_bytes(), 37 * MIB);
}

#[tokio::test]
async fn who_waits_goes_on_when_bytes_are_given_back() {
    let wire = wire();
    let first = wire.connect().unwrap();
    let mut held = first.charge(64 * MIB).await.unwrap();
    let waiting = first.clone();
    let waiter = tokio::spawn(async move { waiting.charge(MIB).await.map(|c| c.bytes()) });
    while wire.waiting.load(Ordering::Acquire) == 0 {
        tokio::task::yield_now().await;
    }
    held.shrink_to(10 * MIB);
    assert_eq!(waiter.await.unwrap().unwrap(), MIB);
    drop(held);
    assert_eq!(wire.held_bytes(), 0);
}

#[tokio::test]
async fn a_socket_is_read_only_while_there_is_room_or_its_message_was_admitted() {
    let wire = wire();
    let window = 8 * MIB;
    let spent = wire.connect().unwrap();
    let other = wire.connect().unwrap();
    let _a = spent.charge(60 * MIB).await.unwrap();
    let reader = wire.connect().unwrap();
    reader.received(2 * MIB, window);
    assert!(reader.room_to_read().is_none());
    let b = other.charge(34 * MIB).await.unwrap();
    assert!(reader.room_to_read().is_some());
    // Its message was admitted and has to be read to its end.
    reader.due(3 * MIB, 0);
    assert!(reader.room_to_read().is_none());
    reader.due(0, 3 * MIB);
    let room = reader.room_to_read().unwrap();
    drop(b);
    room.await.unwrap();
    // Never more than the window, and nothing once no call is left.
    reader.received(100 * MIB, window);
    assert_eq!(wire.held_bytes(), 68 * MIB);
    reader.taken(MIB);
    assert_eq!(wire.held_bytes(), 67 * MIB);
    let call = reader.call();
    reader.calls_opened(1);
    reader.drained();
    assert_eq!(wire.held_bytes(), 67 * MIB);
    drop(call);
    reader.drained();
    assert_eq!(wire.held_bytes(), 60 * MIB);
}

#[test]
fn connections_are_bounded_and_given_back() {
    let wire = wire();
    let all: Vec<_> = (0..3).map(|_| wire.connect().unwrap()).collect();
    assert!(wire.connect().is_none());
    all[0].received(5, 10);
    drop(all);
    assert_eq!((wire.connections(), wire.held_bytes()), (0, 0));
    assert!(wire.connect().is_some());
}
