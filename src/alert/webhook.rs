//! One request to a receiver, and when to try the next.

use std::time::Duration;

use super::message::Message;
use crate::config::Webhook;

/// Bytes of an answer that are read, for the error that quotes it.
const ANSWER_MAX: usize = 200;
/// No receiver puts us off for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The first pause.
const PAUSE: Duration = Duration::from_secs(1);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Delivered,
    /// Again would be no better: what the receiver says of it.
    Refused(String),
    /// Later, and not before `after` if the receiver says so.
    Later {
        after: Option<Duration>,
        problem: String,
    },
}

/// Speaks to one receiver.
pub(super) struct Sender {
    webhook: Webhook,
    client: reqwest::Client,
}

impl Sender {
    /// # Errors
    /// TLS cannot be set up on this machine.
    pub(super) fn new(webhook: Webhook, timeout: Duration) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .user_agent(concat!("deltaplane/", env!("CARGO_PKG_VERSION")))
            // A token goes to the address that was configured and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let client = client.map_err(|e| format!("no HTTP client: {}", told(e)))?;
        Ok(Sender { webhook, client })
    }

    pub(super) async fn send(&self, message: &Message<'_>, repeat: u64) -> Sent {
        let later = |problem: String| Sent::Later {
            after: None,
            problem,
        };
        let body = message.body(self.webhook.form).to_string();
        let mut key = message.key();
        if repeat > 0 {
            key = format!("{key}-{repeat}");
        }
        let mut request = self
            .client
            .post(self.webhook.url.clone())
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        for (name, value) in &self.webhook.headers {
            request = request.header(name, value);
        }
        if let Some(path) = &self.webhook.bearer_token_file {
            match tokio::fs::read_to_string(path).await {
                Ok(token) => request = request.bearer_auth(token.trim()),
                Err(e) => {
                    let path = path.display();
                    return later(format!(
                        "bearer_token_file cannot be read, path={path}: {e}"
                    ));
                }
            }
        }
        let mut response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return later(told(error)),
        };
        let status = response.status();
        if status.is_success() {
            return Sent::Delivered;
        }
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok())
            .and_then(|text| retry_after(text, response.headers().get("date")));
        let mut answer = Vec::new();
        while answer.len() < ANSWER_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            answer.extend_from_slice(&chunk);
        }
        answer.truncate(ANSWER_MAX);
        let answer = String::from_utf8_lossy(&answer);
        let answer: String = answer.split_whitespace().collect::<Vec<_>>().join(" ");
        let problem = format!("the receiver answered {status}: {answer}");
        if status.is_redirection() {
            return Sent::Refused(format!(
                "the receiver answered {status}, and redirects are not followed; give the address that it leads to"
            ));
        }
        let again = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        if again {
            Sent::Later { after, problem }
        } else {
            Sent::Refused(problem)
        }
    }
}

/// An error without the address, which may hold a secret, and with its causes.
fn told(error: reqwest::Error) -> String {
    use std::error::Error;
    let error = error.without_url();
    let mut out = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        error.to_string()
    };
    let mut cause = error.source();
    while let Some(one) = cause {
        let text = one.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        cause = one.source();
    }
    out
}

/// Seconds, or a date, which is held against the receiver's own clock.
fn retry_after(text: &str, date: Option<&reqwest::header::HeaderValue>) -> Option<Duration> {
    let seconds = match text.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let parse = |text: &str| chrono::DateTime::parse_from_rfc2822(text.trim()).ok();
            let until = parse(text)?;
            let now = date.and_then(|d| d.to_str().ok()).and_then(parse)?;
            u64::try_from((until - now).num_seconds()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// How long to wait after so many failures: doubled each time up to `most`, and some part of the second half of it, so that
/// receivers which come back are not met by all at once. `salt`: tells who waits.
pub(super) fn pause(
    failures: u32,
    most: Duration,
    after: Option<Duration>,
    salt: &str,
) -> Duration {
    let whole = PAUSE
        .saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(20)))
        .min(most.max(PAUSE));
    let part = crc32c::crc32c(format!("{salt}/{failures}").as_bytes());
    let half = whole / 2;
    let pause = half + half.mul_f64(f64::from(part) / f64::from(u32::MAX));
    after.map_or(pause, |after| after.max(pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_most_and_differ() {
        let most = Duration::from_secs(60);
        let of = |n: u32| pause(n, most, None, "ops/a.b");
        for n in 1..40 {
            let whole = Duration::from_secs(1 << (n - 1).min(10)).min(most);
            assert!(of(n) >= whole / 2 && of(n) <= whole, "{n}: {:?}", of(n));
        }
        assert_ne!(of(3), pause(3, most, None, "ops/a.c"));
        let told = Duration::from_secs(90);
        assert_eq!(pause(1, most, Some(told), "x"), told);
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let date = reqwest::header::HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT");
        let of = |text: &str| retry_after(text, Some(&date)).map(|d| d.as_secs());
        assert_eq!(of(" 17"), Some(17));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:30 GMT"), Some(30));
        assert_eq!(of("Wed, 21 Oct 2015 07:27:30 GMT"), Some(0));
        assert_eq!(of("999999999"), Some(3600));
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:30 GMT", None), None);
    }
}
