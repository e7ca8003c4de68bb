//! What receivers are sent: Alertmanager's webhook, version 4, and the alerts of Alertmanager's own API. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::machine::{Columns, Identity, News};
use crate::clock::Micros;
use crate::config::Form;
use crate::dataset::AlertDeclaration;

/// Alerts in one request; the rest follow in the next.
pub(super) const BATCH_MAX: usize = 100;
/// Go's zero time: not ended.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// One instance's news on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub identity: Identity,
    pub news: News,
}

/// What one webhook is sent at once, all of one alert.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    pub alert: &'a AlertDeclaration,
    pub receiver: &'a str,
    pub external_url: &'a str,
    pub items: &'a [Item],
    pub now: Micros,
    /// Until when Alertmanager takes what fires as firing.
    pub lasts: Micros,
}

pub(super) fn time(at: Micros) -> String {
    DateTime::from_timestamp_micros(at).map_or_else(
        || NEVER.to_owned(),
        |t| t.to_rfc3339_opts(SecondsFormat::Micros, true),
    )
}

/// A value as labels and annotations hold it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The BY columns of an instance.
pub(super) fn columns(identity: &str) -> Columns {
    serde_json::from_str(identity).unwrap_or_default()
}

/// An instance's labels: what it is, and never what it measured.
pub(super) fn labels(alert: &AlertDeclaration, identity: &str) -> BTreeMap<String, String> {
    let mut labels = alert.labels.clone();
    labels.extend(columns(identity).iter().map(|(k, v)| (k.clone(), text(v))));
    labels.insert("alertname".to_owned(), alert.name.table().to_owned());
    labels.insert("schema".to_owned(), alert.name.schema().to_owned());
    labels
}

/// FNV-1a over the sorted labels, as Prometheus has it: the same across restarts, and for whoever computes it.
pub(super) fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let parts = labels
        .iter()
        .flat_map(|(k, v)| [k.as_bytes(), v.as_bytes()]);
    format!("{:016x}", hash(parts))
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut sum: u64 = 14_695_981_039_346_656_037;
    for part in parts {
        for byte in part.iter().chain(&[255]) {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
        }
    }
    sum
}

/// `{column}` in the comment is the instance's value of it; what is no column stays as it is.
fn summary(comment: &str, labels: &BTreeMap<String, String>, values: &Columns) -> String {
    let mut out = String::new();
    let mut rest = comment;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let inner = behind.get(1..).unwrap_or_default();
        let name = inner.split('}').next().filter(|n| n.len() < inner.len());
        let value = name.and_then(|n| {
            let column = values.get(n).map(text);
            column.or_else(|| labels.get(n).cloned())
        });
        match (name, value) {
            (Some(name), Some(value)) => {
                out.push_str(&value);
                rest = inner.get(name.len() + 1..).unwrap_or_default();
            }
            _ => {
                out.push('{');
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

impl Message<'_> {
    /// The same for the same news, after a restart too; another if any of it is other news.
    pub(super) fn key(&self) -> String {
        let mut parts: Vec<String> = self
            .items
            .iter()
            .map(|i| {
                format!(
                    "{}/{}/{}",
                    fingerprint(&labels(self.alert, &i.identity)),
                    i.news.starts_at,
                    i.news.firing
                )
            })
            .collect();
        parts.sort();
        let sum = hash(parts.iter().map(String::as_bytes));
        // It stands in a header of HTTP, which is ASCII.
        let name = self.alert.name.to_string();
        format!("{}-{sum:016x}", name.escape_default())
    }

    pub(super) fn body(&self, form: Form) -> Value {
        match form {
            Form::Webhook => self.webhook(),
            Form::Alertmanager => {
                Value::Array(self.items.iter().map(|i| self.one(i, form)).collect())
            }
        }
    }

    fn one(&self, item: &Item, form: Form) -> Value {
        let labels = labels(self.alert, &item.identity);
        let values = &item.news.values;
        let mut annotations: Map<String, Value> = values
            .iter()
            .map(|(k, v)| (k.clone(), Value::String(text(v))))
            .collect();
        if let Some(comment) = &self.alert.comment {
            let summary = summary(comment, &labels, values);
            annotations.insert("summary".to_owned(), Value::String(summary));
        }
        let ends_at = match (item.news.ends_at, form) {
            (Some(at), _) => time(at),
            (None, Form::Webhook) => NEVER.to_owned(),
            (None, Form::Alertmanager) => time(self.now.saturating_add(self.lasts)),
        };
        let mut one = json!({
            "labels": labels, "annotations": annotations, "startsAt": time(item.news.starts_at), "endsAt": ends_at,
            "generatorURL": self.external_url,
        });
        if form == Form::Webhook {
            one["status"] = json!(status(item.news.firing));
            one["fingerprint"] = json!(fingerprint(&labels));
        }
        one
    }

    fn webhook(&self) -> Value {
        let alerts: Vec<Value> = self
            .items
            .iter()
            .map(|i| self.one(i, Form::Webhook))
            .collect();
        let common = |of: &str| {
            let mut all = alerts.iter().map(|a| a[of].as_object().cloned());
            let mut common = all.next().flatten().unwrap_or_default();
            for other in all {
                let other = other.unwrap_or_default();
                common.retain(|k, v| other.get(k) == Some(v));
            }
            Value::Object(common)
        };
        let (schema, name) = (self.alert.name.schema(), self.alert.name.table());
        json!({
            "version": "4",
            "groupKey": format!("{{}}:{{alertname={name:?}, schema={schema:?}}}"),
            "truncatedAlerts": 0,
            "status": status(self.items.iter().any(|i| i.news.firing)),
            "receiver": self.receiver,
            "groupLabels": {"alertname": name, "schema": schema},
            "commonLabels": common("labels"),
            "commonAnnotations": common("annotations"),
            "externalURL": self.external_url,
            "alerts": alerts,
        })
    }
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::dataset::Watched;
    use crate::types::TableName;

    fn alert() -> AlertDeclaration {
        let sql = "SELECT 1".to_owned();
        let mut alert = AlertDeclaration::new(
            TableName::new("building", "hot").unwrap(),
            Watched::Query { sql },
        );
        alert.labels = [("severity".to_owned(), "page".to_owned())].into();
        alert.comment = Some("{room} is {t} degC {in summer} {".to_owned());
        alert
    }

    fn item(room: &str, firing: bool) -> Item {
        let values = json!({"t": 31.5, "note": null});
        Item {
            identity: json!({ "room": room }).to_string(),
            news: News {
                number: 1,
                firing,
                values: values.as_object().unwrap().clone(),
                starts_at: 1_767_225_600_000_000,
                ends_at: (!firing).then_some(1_767_225_660_500_000),
            },
        }
    }

    #[test]
    fn a_message_has_the_form_of_alertmanagers_webhook() {
        let (alert, items) = (alert(), [item("r1", true), item("r2", false)]);
        let message = Message {
            alert: &alert,
            receiver: "ops",
            external_url: "http://x/",
            items: &items,
            now: 0,
            lasts: 0,
        };
        let body = message.body(Form::Webhook);
        let expected = json!({
            "version": "4", "groupKey": "{}:{alertname=\"hot\", schema=\"building\"}", "truncatedAlerts": 0, "status": "firing", "receiver": "ops",
            "groupLabels": {"alertname": "hot", "schema": "building"},
            "commonLabels": {"alertname": "hot", "schema": "building", "severity": "page"},
            "commonAnnotations": {"t": "31.5", "note": ""},
            "externalURL": "http://x/",
            "alerts": [
                {"status": "firing", "labels": {"alertname": "hot", "schema": "building", "severity": "page", "room": "r1"},
                 "annotations": {"t": "31.5", "note": "", "summary": "r1 is 31.5 degC {in summer} {"},
                 "startsAt": "2026-01-01T00:00:00.000000Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://x/",
                 "fingerprint": body["alerts"][0]["fingerprint"]},
                {"status": "resolved", "labels": {"alertname": "hot", "schema": "building", "severity": "page", "room": "r2"},
                 "annotations": {"t": "31.5", "note": "", "summary": "r2 is 31.5 degC {in summer} {"},
                 "startsAt": "2026-01-01T00:00:00.000000Z", "endsAt": "2026-01-01T00:01:00.500000Z", "generatorURL": "http://x/",
                 "fingerprint": body["alerts"][1]["fingerprint"]},
            ],
        });
        assert_eq!(body, expected);
        assert_ne!(
            body["alerts"][0]["fingerprint"],
            body["alerts"][1]["fingerprint"]
        );
        let own = message.body(Form::Alertmanager);
        assert_eq!(own[0]["endsAt"], "1970-01-01T00:00:00.000000Z");
        assert!(own[0].get("status").is_none());
    }

    /// Of prometheus/common, `TestLabelsToSignature` and the fingerprint of an empty set.
    #[test]
    fn fingerprints_are_those_of_prometheus() {
        let labels = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(hash([]), 14_695_981_039_346_656_037);
        let set = labels(&[("name", "garland, briggs"), ("fear", "love is not enough")]);
        assert_eq!(
            fingerprint(&set),
            format!("{:016x}", 5_799_056_148_416_392_346_u64)
        );
    }

    #[test]
    fn the_key_is_that_of_the_news_in_any_order() {
        let alert = alert();
        let key = |items: &[Item]| {
            let message = Message {
                alert: &alert,
                receiver: "ops",
                external_url: "",
                items,
                now: 0,
                lasts: 0,
            };
            message.key()
        };
        let (a, b) = (item("a", true), item("b", true));
        assert_eq!(key(&[a.clone(), b.clone()]), key(&[b.clone(), a.clone()]));
        let alone = [a.clone()];
        assert_ne!(key(&alone), key(&[a.clone(), b]));
        assert_ne!(key(&alone), key(&[item("a", false)]));
        let mut named = alert.clone();
        named.name = TableName::new("Werk \"1\"", "Hei\u{df}").unwrap();
        let items = [a];
        let message = Message {
            alert: &named,
            receiver: "ops",
            external_url: "",
            items: &items,
            now: 0,
            lasts: 0,
        };
        let key = message.key();
        assert!(key.bytes().all(|b| (0x20..0x7f).contains(&b)), "{key}");
        let body = message.body(Form::Webhook);
        let group = "{}:{alertname=\"Hei\u{df}\", schema=\"Werk \\\"1\\\"\"}";
        assert_eq!(body["groupKey"], group);
    }
}
