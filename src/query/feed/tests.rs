#![expect(clippy::unwrap_used, reason = "tests")]
use super::parse::{Place, parse};

#[test]
fn subscriptions_are_told_from_other_text() {
    let read = |sql: &str| {
        parse(sql).unwrap().map(|s| {
            let from = s.from.map(|Place { version, row }| (version, row));
            (s.table.to_string(), from, s.condition, s.progress)
        })
    };
    let table = |name: &str| name.to_owned();
    assert_eq!(read("SELECT 1"), None);
    assert_eq!(
        read("subscribe to a.b;"),
        Some((table("a.b"), None, None, false))
    );
    assert_eq!(
        read("SUBSCRIBE b FROM VERSION 7"),
        Some((table("public.b"), Some((7, 0)), None, false))
    );
    assert_eq!(
        read("SUBSCRIBE a.b FROM START WITH PROGRESS"),
        Some((table("a.b"), Some((0, 0)), None, true))
    );
    assert_eq!(
        read("SUBSCRIBE a.b FROM NOW WHERE x = 'it''s' OR y > 1"),
        Some((
            table("a.b"),
            None,
            Some("x = 'it''s' OR y > 1".to_owned()),
            false
        ))
    );
    assert_eq!(
        read("SUBSCRIBE a.b FROM VERSION 7 ROW 3 WHERE x > 1 WITH PROGRESS"),
        Some((table("a.b"), Some((7, 3)), Some("x > 1".to_owned()), true))
    );
    for bad in [
        "SUBSCRIBE",
        "SUBSCRIBE a.b FROM 7",
        "SUBSCRIBE a.b FROM VERSION",
        "SUBSCRIBE a.b FROM VERSION -1",
        "SUBSCRIBE a.b FROM VERSION 1 ROW x",
        "SUBSCRIBE a.b WHERE",
        "SUBSCRIBE a.b WITH",
        "SUBSCRIBE a.b LIMIT 3",
    ] {
        let fault = parse(bad).unwrap_err();
        assert_eq!(fault.reason, "syntax_error", "{bad}");
        assert!(fault.message.contains("SUBSCRIBE [TO]"), "{bad}: {fault}");
    }
}
