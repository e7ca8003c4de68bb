//! How a setting's value is written: `10s`, `64MiB`, `127.0.0.1:32010`. A number without its unit is refused,
//! since `timeout = 300` is read as seconds by one person and as milliseconds by the next.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
pub use std::time::Duration;

/// A number of bytes. Written with a binary unit: `16MiB`, `1GiB`, or plain bytes with `B`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn bytes(value: u64) -> Self {
        ByteSize(value)
    }

    pub const fn mib(value: u64) -> Self {
        ByteSize(value << 20)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// For lengths in memory; what does not fit the machine is its largest.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const BYTE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = BYTE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text)?;
        let factor = BYTE_UNITS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| factor)
            .ok_or_else(|| "give a unit: B, KiB, MiB, GiB or TiB".to_owned())?;
        number
            .checked_mul(factor)
            .map(ByteSize)
            .ok_or_else(|| "too large".to_owned())
    }
}

const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `250ms`, `10s`, `5min` (or `5m`), `12h`, `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text)?;
    let unit = if unit == "m" { "min" } else { unit };
    let factor = TIME_UNITS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| factor)
        .ok_or_else(|| "give a unit: ms, s, min, h or d".to_owned())?;
    number
        .checked_mul(factor)
        .map(Duration::from_millis)
        .ok_or_else(|| "too large".to_owned())
}

/// Delta's intervals, as in `interval 7 days`; None for what is none.
pub fn parse_interval(text: &str) -> Option<Duration> {
    let mut words = text.split_whitespace();
    let mut word = words.next()?;
    if word.eq_ignore_ascii_case("interval") {
        word = words.next()?;
    }
    let number: u64 = word.parse().ok()?;
    let unit = words.next()?.to_ascii_lowercase();
    let millis = match unit.trim_end_matches('s') {
        "millisecond" => 1,
        "second" => 1_000,
        "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        "week" => 604_800_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// The inverse of [`parse_duration`]; parts below a millisecond are dropped.
pub fn show_duration(value: Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = TIME_UNITS
        .into_iter()
        .find(|(_, factor)| millis >= *factor && millis % factor == 0)
        .unwrap_or(("ms", 1));
    format!("{}{unit}", millis / factor)
}

fn number_and_unit(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number
        .parse()
        .map_err(|_| "a whole number with a unit is due".to_owned())?;
    Ok((number, unit.trim_start()))
}

/// A type that a setting can have: how its text is read and shown again.
pub(super) trait Value: Sized {
    /// The form, as help and errors name it.
    const FORM: &'static str;
    /// TOML writes it bare, without quotes.
    const BARE: bool = false;

    fn parse(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

impl Value for ByteSize {
    const FORM: &'static str = "SIZE";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const FORM: &'static str = "TIME";

    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }

    fn show(&self) -> String {
        show_duration(*self)
    }
}

impl Value for bool {
    const FORM: &'static str = "true|false";
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "true or false is due".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    const FORM: &'static str = "N";
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .map_err(|_| "a whole number is due".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    const FORM: &'static str = "DIR";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a path is due".to_owned());
        }
        Ok(text.into())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for String {
    const FORM: &'static str = "TEXT";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for SocketAddr {
    const FORM: &'static str = "ADDR:PORT";

    fn parse(text: &str) -> Result<Self, String> {
        // A name would need a resolver, and may change its address between two starts; `localhost` alone is worth it.
        let literal = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        literal.parse().map_err(|_| {
            "an address with a port is due, such as 127.0.0.1:32010 or [::1]:0".to_owned()
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Unset is the empty text.
impl<T: Value> Value for Option<T> {
    const FORM: &'static str = T::FORM;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}
