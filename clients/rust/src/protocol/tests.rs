#![expect(clippy::unwrap_used, reason = "test")]

use proptest::prelude::*;

use super::*;

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Json), Just(Form::Binary)]
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let level = prop_oneof![Just(AckLevel::Durable), Just(AckLevel::Committed)];
    let open =
        ("[^\\p{C}]{1,40}", any::<Option<u64>>(), level).prop_map(|(producer, epoch, ack)| {
            ClientMessage::Open(Open {
                producer,
                epoch,
                ack,
            })
        });
    let batch = (1..=SEQ_MAX).prop_map(|seq| ClientMessage::Batch { seq });
    prop_oneof![open, batch]
}

fn reject() -> impl Strategy<Value = Reject> {
    (any::<u64>(), any::<u32>(), ".*", ".*", ".*").prop_map(|(seq, row, column, rule, value)| {
        Reject {
            seq,
            row,
            column,
            rule,
            value,
        }
    })
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    let ready = any::<[u64; 8]>().prop_map(|n| {
        ServerMessage::Ready(Ready {
            epoch: n[0],
            seq: n[1],
            offset: n[2],
            accepted: n[3],
            quarantined: n[4],
            duplicates: n[5],
            max_batch_bytes: n[6],
            max_inflight_bytes: n[7],
        })
    });
    let ack = (
        any::<[u64; 5]>(),
        any::<Option<i64>>(),
        prop::collection::vec(reject(), 0..4),
    )
        .prop_map(|(n, version, rejects)| {
            ServerMessage::Ack(Ack {
                seq: n[0],
                offset: n[1],
                accepted: n[2],
                quarantined: n[3],
                duplicates: n[4],
                version,
                rejects,
            })
        });
    prop_oneof![ready, ack]
}

proptest! {
    #[test]
    fn client_message_survives_both_forms(message in client_message(), form in form()) {
        let bytes = encode_client(&message, form);
        prop_assert_eq!(decode_client(&bytes).unwrap(), (message, form));
    }

    #[test]
    fn server_message_survives_both_forms(message in server_message(), form in form()) {
        let bytes = encode_server(&message, form);
        prop_assert_eq!(decode_server(&bytes).unwrap(), (message, form));
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode_client(&bytes);
        let _ = decode_server(&bytes);
        let _ = decode_reason(&bytes);
    }
}

#[test]
fn json_is_spelled_as_the_design_says() {
    let open = ClientMessage::Open(Open {
        producer: "edge-7".into(),
        epoch: None,
        ack: AckLevel::Durable,
    });
    let text = r#"{"open":{"producer":"edge-7","epoch":null,"ack":"durable"}}"#;
    assert_eq!(encode_client(&open, Form::Json), text);
    let batch = ClientMessage::Batch { seq: 42 };
    assert_eq!(encode_client(&batch, Form::Json), r#"{"seq":42}"#);
    let ack = ServerMessage::Ack(Ack {
        seq: 43,
        offset: 90212,
        accepted: 42989,
        quarantined: 11,
        duplicates: 0,
        version: None,
        rejects: vec![Reject {
            seq: 42,
            row: 17,
            column: "AT".into(),
            rule: "range".into(),
            value: "99.1".into(),
        }],
    });
    let text = r#"{"ack":{"seq":43,"offset":90212,"accepted":42989,"quarantined":11,"duplicates":0,"version":null,"rejects":[{"seq":42,"row":17,"column":"AT","rule":"range","value":"99.1"}]}}"#;
    assert_eq!(encode_server(&ack, Form::Json), text);
    let text = r#"{"ready":{"epoch":3,"seq":41,"offset":90210,"accepted":40991,"quarantined":9,"duplicates":0,"max_batch_bytes":16777216,"max_inflight_bytes":67108864}}"#;
    let (ready, form) = decode_server(text.as_bytes()).unwrap();
    assert_eq!(encode_server(&ready, form), text);
}

#[test]
fn short_open_takes_the_defaults() {
    let (message, _) = decode_client(br#"{ "open": {"producer":"a"} }"#).unwrap();
    let expected = Open {
        producer: "a".into(),
        epoch: None,
        ack: AckLevel::Durable,
    };
    assert_eq!(message, ClientMessage::Open(expected));
}

#[test]
fn bad_metadata_says_what_is_wrong() {
    let long = format!(r#"{{"open":{{"producer":"{}"}}}}"#, "x".repeat(257));
    let cases: [(&[u8], &str); 11] = [
        (b"", "empty"),
        (
            br#"{"open":{"producer":"a","epochs":3,"lvl":1}}"#,
            "keys=epochs,lvl",
        ),
        (br#"{"open":{"epoch":3}}"#, "missing field `producer`"),
        (br#"{"open":{"producer":""}}"#, "producer name"),
        (br#"{"open":{"producer":"a\u0000b"}}"#, "producer name"),
        (long.as_bytes(), "bytes=257"),
        (br#"{"open":{"producer":"a","ack":"soon"}}"#, "soon"),
        (br#"{"open":{"producer":"a"},"seq":1}"#, "either"),
        (br#"{"seq":0}"#, "seq=0"),
        (br#"{"seq":-1}"#, "JSON"),
        (b"hello", "neither JSON nor"),
    ];
    for (bytes, part) in cases {
        let text = decode_client(bytes).unwrap_err().to_string();
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

/// The hand-written structs and the .proto must name the same numbers.
#[test]
fn binary_numbers_match_the_proto_file() {
    let proto = include_str!("../../../../proto/deltaplane/v1/ingest.proto");
    let code = include_str!("binary.rs");
    for (message, wire) in [
        ("Open", "OpenWire"),
        ("Batch", "BatchWire"),
        ("Ready", "ReadyWire"),
        ("Ack", "AckWire"),
        ("Reject", "RejectWire"),
    ] {
        let block = proto
            .split(&format!("message {message} {{"))
            .nth(1)
            .unwrap();
        let fields: Vec<(String, String)> = block
            .lines()
            .take_while(|line| *line != "}")
            .filter(|line| line.ends_with(';') && !line.trim_start().starts_with("//"))
            .map(|line| {
                let (left, number) = line.trim_end_matches(';').split_once(" = ").unwrap();
                (
                    left.rsplit(' ').next().unwrap().to_owned(),
                    number.to_owned(),
                )
            })
            .collect();
        let block = code.split(&format!("struct {wire} {{")).nth(1).unwrap();
        let mut found = Vec::new();
        let mut number = String::new();
        for line in block.lines().take_while(|line| *line != "}") {
            if let Some((_, rest)) = line.split_once("tag = \"") {
                number = rest.split('"').next().unwrap().to_owned();
            } else if let Some((name, _)) = line.trim().split_once(": ") {
                found.push((name.to_owned(), number.clone()));
            }
        }
        assert!(!fields.is_empty());
        assert_eq!(found, fields, "message {message}");
    }
}

#[test]
fn reason_travels_in_the_details() {
    let details = encode_reason(9, "producer_fenced: epoch 2 < 3", reason::PRODUCER_FENCED);
    assert_eq!(decode_reason(&details).as_deref(), Some("producer_fenced"));
    assert_eq!(decode_reason(b""), None);
}
