#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;

fn sessions(count: usize) -> Sessions {
    let limits = Limits {
        count,
        idle: Duration::from_secs(60),
    };
    Sessions::new(limits, Arc::default())
}

fn request(pairs: &[(&str, OptionValue)]) -> SetSessionOptionsRequest {
    let options = pairs.iter().map(|(name, value)| {
        let value = SessionOptionValue {
            option_value: Some(value.clone()),
        };
        ((*name).to_owned(), value)
    });
    SetSessionOptionsRequest {
        session_options: options.collect(),
    }
}

fn with_cookie(id: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    let cookie = format!("other=1; {COOKIE}={id}");
    headers.insert("cookie", cookie.parse().unwrap());
    headers
}

fn known(name: &str) -> Option<String> {
    name.eq_ignore_ascii_case("building")
        .then(|| "building".to_owned())
}

#[test]
fn options_stick_to_the_cookie_and_to_nobody_else() {
    let sessions = sessions(10);
    let text = |t: &str| OptionValue::Text(t.to_owned());
    let none = MetadataMap::new();
    let (result, id) = sessions.set(
        "ann",
        &none,
        request(&[
            ("schema", text("Building")),
            ("catalog", text("deltaplane")),
        ]),
        known,
    );
    assert!(result.errors.is_empty());
    let cookie = with_cookie(&id.unwrap());
    let caller = sessions.caller("ann", &cookie).unwrap();
    assert_eq!(&*caller.schema, "building");
    let fault = sessions.caller("bob", &cookie).unwrap_err();
    assert_eq!(fault.kind, Kind::Unauthenticated);
    assert_eq!(&*sessions.caller("ann", &none).unwrap().schema, PUBLIC);
    assert!(sessions.close("bob", &cookie).is_err());
    assert!(!caller.session.is_over());
    sessions.close("ann", &cookie).unwrap();
    assert!(caller.session.is_over());
    let fault = sessions.caller("ann", &cookie).unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.reason),
        (Kind::Unauthenticated, "session_ended")
    );
    assert_eq!(
        sessions.close("ann", &cookie).unwrap_err().kind,
        Kind::NotFound
    );
    // It may begin anew, under another id.
    let (_, id) = sessions.set(
        "ann",
        &cookie,
        request(&[("schema", text("building"))]),
        known,
    );
    let again = with_cookie(&id.unwrap());
    assert_eq!(&*sessions.caller("ann", &again).unwrap().schema, "building");
    assert!(sessions.caller("ann", &cookie).is_err());
    assert!(sessions.caller("ann", &with_cookie("")).is_ok());
}

#[test]
fn the_unit_of_timestamps_is_a_header_s_before_a_session_s() {
    let sessions = sessions(10);
    let none = MetadataMap::new();
    let unit = |text: &str| request(&[(timestamps::OPTION, OptionValue::Text(text.into()))]);
    let (result, id) = sessions.set("ann", &none, unit("ns"), known);
    assert!(result.errors.is_empty());
    let mut headers = with_cookie(&id.unwrap());
    let given = |headers: &MetadataMap| sessions.caller("ann", headers).unwrap().timestamps;
    assert_eq!(given(&none), TimeUnit::Microsecond);
    assert_eq!(given(&headers), TimeUnit::Nanosecond);
    let (result, _) = sessions.set("ann", &headers, unit("s"), known);
    assert_eq!(result.errors.len(), 1);
    assert_eq!(given(&headers), TimeUnit::Nanosecond);
    headers.insert(timestamps::OPTION, "us".parse().unwrap());
    assert_eq!(given(&headers), TimeUnit::Microsecond);
    headers.insert(timestamps::OPTION, "hours".parse().unwrap());
    let fault = sessions.caller("ann", &headers).unwrap_err();
    assert_eq!(&*fault.reason, "invalid_option");
}

#[test]
fn a_session_that_expires_or_makes_room_ends_as_one_that_is_closed() {
    let limits = Limits {
        count: 10,
        idle: Duration::ZERO,
    };
    let silent = Sessions::new(limits, Arc::default());
    let few = sessions(1);
    for sessions in [&silent, &few] {
        let begin = || {
            let set = sessions.set("ann", &MetadataMap::new(), request(&[]), known);
            with_cookie(&set.1.unwrap())
        };
        let cookie = begin();
        let caller = sessions.caller("ann", &cookie).unwrap();
        begin();
        assert!(caller.session.is_over());
        assert!(sessions.caller("ann", &cookie).is_err());
    }
}

#[test]
fn what_cannot_be_set_is_named_and_sessions_are_bounded() {
    let sessions = sessions(3);
    let text = |t: &str| OptionValue::Text(t.to_owned());
    let (result, _) = sessions.set(
        "ann",
        &MetadataMap::new(),
        request(&[
            ("schema", text("nowhere")),
            ("catalog", OptionValue::Int(1)),
            ("colour", text("red")),
        ]),
        known,
    );
    let error = |name: &str| result.errors[name].value;
    assert_eq!(error("schema"), ErrorValue::InvalidValue as i32);
    assert_eq!(error("catalog"), ErrorValue::InvalidValue as i32);
    assert_eq!(error("colour"), ErrorValue::InvalidName as i32);
    for _ in 0..10 {
        sessions.set("ann", &MetadataMap::new(), request(&[]), known);
    }
    assert_eq!(sessions.list().len(), 3);
}
