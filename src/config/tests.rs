#![expect(clippy::unwrap_used, reason = "test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::size::{parse_duration, show_duration};
use super::sources::read_text;
use super::*;

fn file(text: &str) -> Result<Resolved, Error> {
    let mut resolved = Resolved::default();
    read_text(&mut resolved, Path::new("d.toml"), text)?;
    sources::settle(&mut resolved)?;
    Ok(resolved)
}

#[test]
fn each_default_parses_and_goes_with_the_others() {
    let mut defaults = Resolved::default();
    sources::settle(&mut defaults).unwrap();
    assert_eq!(defaults, Resolved::default());
    for setting in SETTINGS {
        assert_eq!(
            setting.show(&defaults.config),
            setting.default,
            "{}",
            setting.name()
        );
    }
    assert_eq!(
        defaults.config.log.producer_idle,
        Duration::from_secs(7 * 86_400)
    );
    assert_eq!(defaults.config.limits.batch_bytes_max, ByteSize::mib(16));
}

#[test]
fn names_flags_and_variables_are_each_used_once() {
    let names: BTreeSet<_> = SETTINGS.iter().map(Setting::name).collect();
    let variables: BTreeSet<_> = SETTINGS.iter().map(Setting::variable).collect();
    let flags: Vec<_> = SETTINGS.iter().filter_map(|s| s.flag).collect();
    assert_eq!(names.len(), SETTINGS.len());
    assert_eq!(variables.len(), SETTINGS.len());
    assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.toml");
    std::fs::write(
        &path,
        "[commit]\ninterval = \"1s\"\nbytes = \"1MiB\"\n\n[query]\nthreads = 1_0\ntimeout = \"7s\"\n",
    )
    .unwrap();
    let resolved = Sources {
        file: Some(path.clone()),
        variables: vec![
            ("DELTAPLANE_COMMIT_INTERVAL".into(), "2s".into()),
            ("DELTAPLANE_COMMIT_BYTES".into(), "2MiB".into()),
            ("DELTAPLANE_COMMIT_BITES".into(), "2MiB".into()),
            ("DELTAPLANE_URI".into(), "http://x".into()),
        ],
        flags: vec![("commit.interval".into(), "3s".into())],
    }
    .resolve()
    .unwrap();
    let shown: Vec<(String, String)> = [
        "commit.interval",
        "commit.bytes",
        "query.threads",
        "log.bytes_max",
    ]
    .iter()
    .map(|name| {
        let setting = SETTINGS.iter().find(|s| s.name() == *name).unwrap();
        (
            setting.show(&resolved.config),
            resolved.origins[*name].to_string(),
        )
    })
    .collect();
    let expected = [
        ("3s", "--commit-interval".to_owned()),
        ("2MiB", "DELTAPLANE_COMMIT_BYTES".to_owned()),
        ("10", format!("{}:6", path.display())),
        ("4GiB", "default".to_owned()),
    ];
    assert_eq!(
        shown,
        expected.map(|(value, origin)| (value.to_owned(), origin))
    );
    assert_eq!(
        resolved.warnings,
        ["variable is no setting and is ignored, name=DELTAPLANE_COMMIT_BITES"]
    );
}

#[test]
fn mistakes_in_the_file_name_the_line_and_the_way_out() {
    let cases = [
        (
            "[log]\nbyte_max = 1\n",
            "unknown setting, name=log.byte_max, at=d.toml:2, keys of [log]=dir",
        ),
        (
            "\n[lgo]\n",
            "unknown setting, name=[lgo], at=d.toml:2, sections=server log",
        ),
        (
            "listen = \"x\"\n",
            "unknown setting, name=listen, at=d.toml:1, did you mean server.listen?",
        ),
        (
            "[log]\n\nbytes_max = 4096\n",
            "setting=log.bytes_max, value=\"4096\", from=d.toml:3: give a unit: B",
        ),
        (
            "[query]\ntimeout = [1]\n",
            "value=\"[1]\", from=d.toml:2: a text, a whole number",
        ),
        (
            "[query]\ntimeout 5\n",
            "configuration file is not TOML, at=d.toml:2",
        ),
        (
            "[server]\nlisten = \"here\"\n",
            "an address with a port is due",
        ),
        (
            "[limits]\nbatch_bytes_max = \"100MiB\"\ninflight_bytes_max = \"99MiB\"\n",
            "setting=limits.batch_bytes_max, value=\"100MiB\", from=d.toml:2: must not be larger than limits.inflight_bytes_max, which is 99MiB from d.toml:3",
        ),
        (
            "[limits]\nbatch_memory_max = \"300MiB\"\n[memory]\nwire_bytes_max = \"512MiB\"\n",
            "setting=limits.batch_memory_max, value=\"300MiB\", from=d.toml:2: must not be larger than half of memory.wire_bytes_max, which is 512MiB from d.toml:4",
        ),
        (
            "[limits]\nbatch_bytes_max = \"100MiB\"\n[log]\nbytes_max = \"512MiB\"\n",
            "must not be larger than 1/6 of log.bytes_max, which is 512MiB",
        ),
        (
            "[memory]\nwire_bytes_max = \"0B\"\n",
            "setting=memory.wire_bytes_max, value=\"0B\", from=d.toml:2: must be more than zero",
        ),
        (
            "[query]\nvalue_bytes_max = \"2GiB\"\n",
            "setting=query.value_bytes_max, value=\"2GiB\", from=d.toml:2: must not be larger than 1GiB",
        ),
        (
            "[server]\nhttp = \"0.0.0.0:80\"\n",
            "refusing to listen beyond this machine without authentication, server.http=0.0.0.0:80, from=d.toml:2: bind 127.0.0.1, or say --allow-remote-without-auth",
        ),
    ];
    for (text, expected) in cases {
        let message = file(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
    file("[server]\nhttp = \"0.0.0.0:80\"\nallow_remote = true\n[auth]\n").unwrap();
}

/// Values of a setting that stand by themselves: small ones and large ones.
fn sensible(setting: &Setting) -> &'static [&'static str] {
    match (setting.name().as_str(), setting.form) {
        ("query.value_bytes_max" | "query.batch_bytes_max", _) => &["1MiB", "1GiB"],
        ("query.nesting_max", _) => &["2", "200"],
        (_, "SIZE") => &["256KiB", "1MiB", "5MiB", "33MiB", "777MiB", "64GiB"],
        (_, "TIME") => &["1s", "30d"],
        (_, "N") => &["2", "2000"],
        (_, "true|false") => &["true", "false"],
        ("server.listen" | "server.http", _) => &["127.0.0.1:1", "[::1]:0"],
        ("server.data_dir" | "log.dir" | "storage.tables" | "alerts.external_url", _) => &["x"],
        (name, form) => panic!("give values for {name} of form {form}"),
    }
}

#[test]
fn any_one_setting_alone_gives_a_configuration_that_stands() {
    for setting in SETTINGS {
        let name = setting.name();
        for value in sensible(setting) {
            let resolved = Resolved::default().with(&[(&name, value)]);
            let resolved = resolved.unwrap_or_else(|e| panic!("{name}={value}: {e}"));
            assert_eq!(&setting.show(&resolved.config), value, "{name}");
            // What follows is a file that stands by itself, where every value is set.
            let again = file(&resolved.to_toml()).unwrap_or_else(|e| panic!("{name}={value}: {e}"));
            assert_eq!(again.config, resolved.config);
            for other in SETTINGS.iter().filter(|s| s.name() != name) {
                let shown = other.show(&resolved.config);
                match &resolved.origins[&other.name()] {
                    Origin::Default => assert_eq!(shown, other.default, "{}", other.name()),
                    Origin::Follows(by) => assert_eq!(*by, name, "{}", other.name()),
                    origin => panic!("{} is from {origin}", other.name()),
                }
            }
        }
    }
}

#[test]
fn defaults_follow_what_was_set_as_far_as_they_must() {
    let resolved = file("[memory]\nwire_bytes_max = \"16MiB\"\n").unwrap();
    let limits = &resolved.config.limits;
    for followed in [
        limits.connection_bytes_max,
        limits.message_bytes_max,
        limits.batch_memory_max,
        limits.batch_bytes_max,
        limits.dictionary_bytes_max,
    ] {
        assert_eq!(followed, ByteSize::mib(8));
    }
    assert_eq!(limits.request_bytes_max, ByteSize::mib(4));
    let shown = resolved.to_toml();
    assert!(shown.contains("# follows memory.wire_bytes_max"), "{shown}");

    let resolved = file("[limits]\nbatch_bytes_max = \"400MiB\"\n").unwrap();
    let Config {
        limits,
        log,
        memory,
        ..
    } = &resolved.config;
    assert_eq!(limits.batch_memory_max, ByteSize::mib(400));
    assert_eq!(limits.inflight_bytes_max, ByteSize::mib(400));
    assert_eq!(limits.connection_bytes_max, ByteSize::mib(400));
    assert_eq!(memory.wire_bytes_max, ByteSize::mib(800));
    assert_eq!(log.segment_bytes, ByteSize::mib(800));
    assert_eq!(log.queue_bytes_max, ByteSize::mib(400));
    assert_eq!(log.bytes_max, ByteSize::mib(4096));

    // Later values, as a command sets them, start from the defaults again.
    let small = Resolved::default().with(&[("memory.wire_bytes_max", "16MiB")]);
    let large = small.unwrap().with(&[("memory.wire_bytes_max", "1GiB")]);
    let default = Config::default().limits;
    assert_eq!(large.unwrap().config.limits, default);
}

#[test]
fn what_is_shown_reads_back_to_the_same() {
    let resolved = Resolved::default()
        .with(&[
            ("server.listen", "[::1]:0"),
            ("server.data_dir", "a \"quoted\" \\ folder"),
            ("storage.tables", "s3://bucket/prefix"),
            ("log.admission_timeout", "1500ms"),
        ])
        .unwrap();
    let text = resolved.to_toml();
    assert_eq!(file(&text).unwrap().config, resolved.config);
    assert!(text.contains("# set by this command"), "{text}");
    assert_eq!(resolved.config.tables_root(), "s3://bucket/prefix");
}

#[test]
fn sizes_and_times_round_trip_and_want_units() {
    for text in ["1B", "1000B", "64MiB", "3GiB", "1TiB", "0B"] {
        assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
    }
    for text in ["1ms", "1500ms", "10s", "5min", "36h", "7d", "0ms"] {
        assert_eq!(show_duration(parse_duration(text).unwrap()), text);
    }
    assert_eq!(parse_duration("5m").unwrap(), Duration::from_secs(300));
    assert_eq!("2 gib".parse::<ByteSize>().unwrap(), ByteSize::mib(2048));
    for text in [
        "",
        "10",
        "s",
        "-1s",
        "1.5s",
        "10 years",
        "99999999999999999999s",
        "18446744073709551615d",
    ] {
        parse_duration(text).unwrap_err();
    }
    for text in ["", "10", "MiB", "10MB", "18446744073709551615TiB"] {
        text.parse::<ByteSize>().unwrap_err();
    }
}

#[test]
fn intervals_are_read_as_delta_writes_them() {
    let hours = |n: u64| Some(Duration::from_secs(n * 3600));
    assert_eq!(size::parse_interval("interval 7 days"), hours(168));
    assert_eq!(size::parse_interval("interval 1 week"), hours(168));
    assert_eq!(size::parse_interval("1 hour"), hours(1));
    assert_eq!(size::parse_interval("interval 1 month"), None);
    assert_eq!(size::parse_interval("soon"), None);
}

#[test]
fn webhooks_are_read_from_the_file_and_shown_without_their_secrets() {
    let text = "[alerts]\ntimeout = \"5s\"\n[alerts.webhooks.ops]\nurl = \"https://u:pass@h.org:9/a/token?k=key\"\nbearer_token = \"bearer\"\n\
                headers = { x-team = \"plant\" }\n[alerts.webhooks.am]\nurl = \"http://am/api/v2/alerts\"\nform = \"alertmanager\"\n";
    let resolved = file(text).unwrap();
    assert_eq!(resolved.config.alerts.timeout, Duration::from_secs(5));
    let hooks = &resolved.config.webhooks;
    assert_eq!(hooks["ops"].headers.len(), 2);
    assert_eq!(
        (hooks["ops"].repeat, hooks["ops"].form),
        (None, Form::Webhook)
    );
    assert_eq!(hooks["am"].repeat, Some(Duration::from_secs(60)));
    let shown = format!("{}{:?}", resolved.to_toml(), resolved.config);
    assert!(
        shown.contains("# [alerts.webhooks.ops] url = https://h.org:9/.., form = webhook, headers = 2 (not shown)"),
        "{shown}"
    );
    for secret in ["pass", "token?", "key", "bearer\"", "plant"] {
        let shown = shown.replace("bearer_token", "").replace("keys_max", "");
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let cases = [
        (
            "[alerts.webhooks.ops]\nurl = \"ftp://x\"\n",
            "name=ops, at=d.toml:2: url begins with http",
        ),
        ("[alerts.webhooks.ops]\n", "at=d.toml:1: it has no url"),
        (
            "[alerts.webhooks.ops]\nurl = \"http://x\"\nform = \"slack\"\n",
            "at=d.toml:3: form=slack is not known; known: webhook, alertmanager",
        ),
        (
            "[alerts.webhooks.ops]\nurl = \"http://x\"\ntoken = \"x\"\n",
            "token is not known; known: url, form, repeat",
        ),
        (
            "[alerts.webhooks.ops]\nurl = \"http://x\"\nheaders = { \"a b\" = \"x\" }\n",
            "a b cannot be a header",
        ),
        (
            "[alerts.webhooks.ops]\nurl = \"http://x\"\nrepeat = \"10\"\n",
            "repeat: ",
        ),
        (
            "[alerts.webhooks.\"o-p\"]\nurl = \"http://x\"\n",
            "invalid name",
        ),
        ("[alerts]\nwebhooks = 5\n", "it is a table"),
    ];
    for (text, expected) in cases {
        let message = file(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}
