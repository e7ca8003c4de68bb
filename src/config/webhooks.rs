//! `[alerts.webhooks.NAME]`: where alerts are told. Only the file says it, and nothing prints what may be secret: of the address
//! the host alone, of tokens and headers that there are some.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::Duration;
use super::size::Value;
use crate::types::check_word;

/// How a webhook is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Alertmanager's webhook, version 4: what Grafana OnCall, PagerDuty's and Slack's bridges take.
    Webhook,
    /// Alertmanager's own API, `/api/v2/alerts`.
    Alertmanager,
}

#[derive(Clone, PartialEq)]
pub struct Webhook {
    pub name: String,
    pub url: url::Url,
    pub form: Form,
    /// What fires is told again after so long.
    pub repeat: Option<Duration>,
    /// With the bearer token, if there is one.
    pub headers: Vec<(String, String)>,
    /// Read at each request, so that a token that is renewed is in force.
    pub bearer_token_file: Option<PathBuf>,
}

impl Webhook {
    /// The address without what may be secret.
    pub fn host(&self) -> String {
        let port = self
            .url
            .port()
            .map_or_else(String::new, |p| format!(":{p}"));
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}{port}", self.url.scheme())
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Webhook => "webhook",
            Form::Alertmanager => "alertmanager",
        };
        write!(f, "url = {}/.., form = {form}", self.host())?;
        if let Some(repeat) = self.repeat {
            write!(f, ", repeat = {}", <Duration as Value>::show(&repeat))?;
        }
        if let Some(file) = &self.bearer_token_file {
            write!(f, ", bearer_token_file = {}", file.display())?;
        }
        if !self.headers.is_empty() {
            write!(f, ", headers = {} (not shown)", self.headers.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({} {self})", self.name)
    }
}

/// Byte in the file, the webhook, and what is wrong with it.
type Problem = (usize, String, String);

/// Reads the table `alerts.webhooks`.
pub(super) fn read(value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, Webhook>, Problem> {
    let mut out = BTreeMap::new();
    let DeValue::Table(all) = value.get_ref() else {
        return Err((
            value.span().start,
            String::new(),
            "it is a table, as in [alerts.webhooks.ops]".to_owned(),
        ));
    };
    for (key, value) in all {
        let name = key.get_ref().to_string();
        let at = key.span().start;
        let wrong = |at: usize, problem: String| (at, name.clone(), problem);
        check_word(&name).map_err(|e| wrong(at, e.to_string()))?;
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(wrong(at, "it is a table with a url".to_owned()));
        };
        let (mut url, mut form, mut repeat) = (None, Form::Webhook, None);
        let (mut headers, mut file) = (Vec::new(), None);
        for (key, value) in entries {
            let at = value.span().start;
            let wrong = |problem: String| wrong(at, problem);
            let text = || match value.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err(wrong(format!("{} is a text in quotes", key.get_ref()))),
            };
            match key.get_ref().as_ref() {
                "url" => url = Some(address(&text()?).map_err(wrong)?),
                "form" => {
                    form = match text()?.as_str() {
                        "webhook" => Form::Webhook,
                        "alertmanager" => Form::Alertmanager,
                        other => {
                            return Err(wrong(format!(
                                "form={other} is not known; known: webhook, alertmanager"
                            )));
                        }
                    }
                }
                "repeat" => {
                    let span = <Duration as Value>::parse(&text()?);
                    let span = span.map_err(|e| wrong(format!("repeat: {e}")))?;
                    if span < Duration::from_secs(1) {
                        return Err(wrong("repeat is a second at least".to_owned()));
                    }
                    repeat = Some(span);
                }
                "bearer_token" => {
                    headers.push(("authorization".to_owned(), format!("Bearer {}", text()?)));
                }
                "bearer_token_file" => file = Some(PathBuf::from(text()?)),
                "headers" => {
                    let DeValue::Table(given) = value.get_ref() else {
                        return Err(wrong(
                            "headers is a table, as in headers = { x-team = \"ops\" }".to_owned(),
                        ));
                    };
                    for (key, value) in given {
                        let DeValue::String(text) = value.get_ref() else {
                            return Err(wrong(format!(
                                "the header {} is a text in quotes",
                                key.get_ref()
                            )));
                        };
                        headers.push((key.get_ref().to_string(), text.to_string()));
                    }
                }
                other => {
                    return Err(wrong(format!(
                        "{other} is not known; known: url, form, repeat, bearer_token, bearer_token_file, headers"
                    )));
                }
            }
        }
        for (header, value) in &headers {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b);
            let named = !header.is_empty() && header.bytes().all(token);
            if !named || !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                return Err(wrong(at, format!("{header} cannot be a header of HTTP")));
            }
        }
        let Some(url) = url else {
            return Err(wrong(at, "it has no url".to_owned()));
        };
        let webhook = Webhook {
            name: name.clone(),
            url,
            form,
            // Alertmanager takes what it is not told again as over.
            repeat: repeat.or((form == Form::Alertmanager).then(|| Duration::from_secs(60))),
            headers,
            bearer_token_file: file,
        };
        out.insert(name, webhook);
    }
    Ok(out)
}

fn address(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|e| format!("url is no address: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("url begins with http:// or https:// and a host".to_owned());
    }
    Ok(url)
}
