#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

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

/// Connections that take what they can get, each of them up to its window.
fn read_all(connections: &[Arc<Connection>]) {
    for connection in connections {
        for _ in 0..64 {
            if connection.room_to_read().is_some() {
                break;
            }
            connection.received(64 * 1024, 4 * MIB);
        }
    }
}

#[tokio::test]
async fn messages_that_wait_for_room_leave_room_for_small_ones() {
    let mut limits = Limits::of(&Config::default());
    limits.bytes_max = 512 * MIB;
    limits.connection_bytes_max = 64 * MIB;
    limits.wait = Duration::from_secs(3600);
    limits.connections_max = 100;
    let wire = Wire::new(limits);
    let connect = |n: usize| -> Vec<_> { (0..n).map(|_| wire.connect().unwrap()).collect() };
    let admitted: Vec<_> = connect(6).iter().map(|c| c.charge_now(60 * MIB)).collect();
    assert!(admitted.iter().all(Result::is_ok));
    let waiting = connect(40);
    let charges = waiting.iter().cloned().map(|connection| {
        tokio::spawn(async move { connection.charge(60 * MIB).await.map(|c| c.bytes()) })
    });
    let charges: Vec<_> = charges.collect();
    while wire.waiting.load(Ordering::Acquire) < waiting.len() {
        tokio::task::yield_now().await;
    }
    read_all(&waiting);
    let unread = wire.held_bytes() - 360 * MIB;
    assert!(unread <= 40 * 96 * 1024, "{unread}");
    let bystander = wire.connect().unwrap();
    assert!(bystander.charge_at_once(3 * 1024).is_some());
    // Once somebody makes room, whole messages fit again, and who has one is read on.
    drop(admitted);
    let room = waiting.iter().map(|connection| connection.room_to_read());
    for room in room.flatten() {
        room.await.unwrap();
    }
    for charge in charges {
        assert_eq!(charge.await.unwrap().unwrap(), 60 * MIB);
    }
    assert!(
        waiting
            .iter()
            .all(|c| c.waiting.load(Ordering::Acquire) == 0)
    );
}

#[test]
fn each_size_of_message_leaves_room_for_smaller_ones() {
    let mut limits = Limits::of(&Config::default());
    limits.bytes_max = 512 * MIB;
    limits.connections_max = 10_000;
    let wire = Wire::new(limits);
    let mut held = Vec::new();
    for bytes in [40 * MIB, 2 * MIB, 200 * 1024, 3 * 1024] {
        let before = held.len();
        loop {
            let charge = wire.connect().unwrap().charge_at_once(bytes);
            match charge {
                Some(charge) if held.len() < before + 1000 => held.push(charge),
                _ => break,
            }
        }
        assert!(held.len() > before + 1, "{bytes}");
    }
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
