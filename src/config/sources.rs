//! Flag beats variable beats file beats default. What no table row knows is an error that names file and line: a
//! mistyped limit must not silently leave the default in force.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::follow::follow;
use super::{Origin, Resolved, SECTIONS, SETTINGS, Setting};

/// Read when no file is named, if it is there.
pub const DEFAULT_FILE: &str = "deltaplane.toml";

const PREFIX: &str = "DELTAPLANE_";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration file cannot be read, path={}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("configuration file is not TOML, at={}:{line}: {problem}", path.display())]
    NotToml {
        path: PathBuf,
        line: usize,
        problem: String,
    },
    #[error("unknown setting, name={name}, at={}:{line}{hint}", path.display())]
    Unknown {
        name: String,
        path: PathBuf,
        line: usize,
        hint: String,
    },
    #[error("webhook cannot stand, name={name}, at={}:{line}: {problem}", path.display())]
    Webhook {
        name: String,
        path: PathBuf,
        line: usize,
        problem: String,
    },
    #[error("there is no setting of this name, name={name}{hint}")]
    NoSuchSetting { name: String, hint: String },
    #[error("invalid value, setting={name}, value={value:?}, from={origin}: {problem}")]
    Value {
        name: String,
        value: String,
        origin: Origin,
        problem: String,
    },
    #[error(
        "refusing to listen beyond this machine without authentication, {name}={address}, from={origin}: \
         bind 127.0.0.1, or say --allow-remote-without-auth (server.allow_remote = true) if the network is trusted"
    )]
    RemoteWithoutAuth {
        name: &'static str,
        address: std::net::SocketAddr,
        origin: Origin,
    },
}

/// Everything that can set a value, gathered before any is taken.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Named by `--config`; without it [`DEFAULT_FILE`] is read if it is there.
    pub file: Option<PathBuf>,
    /// The process's environment, or a test's.
    pub variables: Vec<(String, String)>,
    /// (setting's `section.key`, value), as the command line gave them.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The process's environment; variables that are no text are left out.
    pub fn from_environment() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        Sources {
            variables,
            ..Sources::default()
        }
    }

    /// Takes the values in order of rank and checks them against each other.
    ///
    /// # Errors
    /// - `Unreadable`, `NotToml`, `Unknown`: the file
    /// - `Value`: one value does not parse, or does not go with the others
    /// - `RemoteWithoutAuth`: an address other than loopback, and nobody said so in words
    pub fn resolve(self) -> Result<Resolved, Error> {
        let mut resolved = Resolved::default();
        let default_file = Path::new(DEFAULT_FILE);
        match &self.file {
            Some(path) => read_file(&mut resolved, path)?,
            None if default_file.is_file() => read_file(&mut resolved, default_file)?,
            None => {}
        }
        for (variable, text) in &self.variables {
            match SETTINGS.iter().find(|s| s.variable() == *variable) {
                Some(setting) => {
                    let origin = Origin::Variable(variable.clone());
                    set(&mut resolved, &setting.name(), text, origin)?;
                }
                None => resolved.warnings.extend(stray_variable(variable)),
            }
        }
        for (name, text) in &self.flags {
            let flag = find(name).and_then(|s| s.flag).unwrap_or_default();
            set(&mut resolved, name, text, Origin::Flag(flag.to_owned()))?;
        }
        settle(&mut resolved)?;
        Ok(resolved)
    }
}

/// Kubernetes puts names such as `DELTAPLANE_SERVER_PORT` into the environment for a service of that name, so a stray
/// one is a warning where a stray key of the file is an error.
fn stray_variable(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let (section, _) = rest.split_once('_')?;
    SECTIONS
        .contains(&section)
        .then(|| format!("variable is no setting and is ignored, name={variable}"))
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name() == name)
}

pub(super) fn set(
    resolved: &mut Resolved,
    name: &str,
    text: &str,
    origin: Origin,
) -> Result<(), Error> {
    let setting = find(name).ok_or_else(|| Error::NoSuchSetting {
        name: name.to_owned(),
        hint: hint(name),
    })?;
    (setting.set)(&mut resolved.config, text).map_err(|problem| Error::Value {
        name: name.to_owned(),
        value: text.to_owned(),
        origin: origin.clone(),
        problem,
    })?;
    resolved.origins.insert(name.to_owned(), origin);
    Ok(())
}

/// Lets defaults follow the values that were set, and checks all of them.
///
/// # Errors
/// - `Value`: a value cannot stand, or two that were set do not go together
/// - `RemoteWithoutAuth`
pub(super) fn settle(resolved: &mut Resolved) -> Result<(), Error> {
    let followed = follow(resolved);
    let config = &resolved.config;
    let origin = |name: &str| {
        resolved
            .origins
            .get(name)
            .cloned()
            .unwrap_or(Origin::Default)
    };
    followed
        .and_then(|()| config.check())
        .map_err(|conflict| Error::Value {
            name: conflict.setting.to_owned(),
            value: find(conflict.setting)
                .map(|s| s.show(config))
                .unwrap_or_default(),
            origin: origin(conflict.setting),
            problem: conflict.problem,
        })?;
    let server = &config.server;
    let addresses = [
        ("server.listen", server.listen),
        ("server.http", server.http),
    ];
    for (name, address) in addresses {
        if !server.allow_remote && !address.ip().is_loopback() {
            return Err(Error::RemoteWithoutAuth {
                name,
                address,
                origin: origin(name),
            });
        }
    }
    Ok(())
}

fn read_file(resolved: &mut Resolved, path: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    read_text(resolved, path, &text)
}

pub(super) fn read_text(resolved: &mut Resolved, path: &Path, text: &str) -> Result<(), Error> {
    let line_at = |offset: usize| {
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count() + 1
    };
    let unknown = |name: String, offset: usize| Error::Unknown {
        hint: hint(&name),
        name,
        path: path.to_owned(),
        line: line_at(offset),
    };
    let document = DeTable::parse(text).map_err(|error| Error::NotToml {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_at(span.start)),
        problem: error.message().to_owned(),
    })?;
    for (section, entry) in document.get_ref() {
        let section_name = section.get_ref().as_ref();
        let at = section.span().start;
        let DeValue::Table(keys) = entry.get_ref() else {
            return Err(unknown(section_name.to_owned(), at));
        };
        if !SECTIONS.contains(&section_name) {
            return Err(unknown(format!("[{section_name}]"), at));
        }
        for (key, value) in keys {
            if section_name == "alerts" && key.get_ref() == "webhooks" {
                resolved.config.webhooks =
                    super::webhooks::read(value).map_err(|(at, name, problem)| Error::Webhook {
                        name,
                        path: path.to_owned(),
                        line: line_at(at),
                        problem,
                    })?;
                continue;
            }
            let name = format!("{section_name}.{}", key.get_ref());
            let at = key.span().start;
            if find(&name).is_none() {
                return Err(unknown(name, at));
            }
            let origin = Origin::File {
                path: path.to_owned(),
                line: line_at(at),
            };
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.as_str().replace('_', ""),
                DeValue::Boolean(yes) => yes.to_string(),
                _ => {
                    return Err(Error::Value {
                        name,
                        value: text.get(value.span()).unwrap_or_default().to_owned(),
                        origin,
                        problem: "a text, a whole number or true/false is due".to_owned(),
                    });
                }
            };
            set(resolved, &name, &text, origin)?;
        }
    }
    Ok(())
}

/// The nearest name, or what there is to choose from.
fn hint(name: &str) -> String {
    let (section, key) = name.split_once('.').unwrap_or((name, ""));
    if !SECTIONS.contains(&section) {
        let elsewhere = SETTINGS.iter().find(|s| s.key == name || s.key == key);
        return elsewhere.map_or_else(
            || format!(", sections={}", SECTIONS.join(" ")),
            |setting| format!(", did you mean {}?", setting.name()),
        );
    }
    let keys: Vec<&str> = SETTINGS
        .iter()
        .filter(|s| s.section == section)
        .map(|s| s.key)
        .collect();
    format!(", keys of [{section}]={}", keys.join(" "))
}
