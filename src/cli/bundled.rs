//! The datasets that the binary carries, and reading others from disk.

use std::path::Path;

use anyhow::Context;

use crate::dataset::{Dataset, from_toml};
use crate::types::TableName;

struct Bundled {
    name: &'static str,
    toml: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const BUNDLED: [Bundled; 5] = [
    Bundled {
        name: "reactor",
        toml: include_str!("../../data/reactor/dataset.toml"),
        files: &[(
            "reactors.csv",
            include_str!("../../data/reactor/reactors.csv"),
        )],
    },
    Bundled {
        name: "satellite",
        toml: include_str!("../../data/satellite/dataset.toml"),
        files: &[(
            "satellites.csv",
            include_str!("../../data/satellite/satellites.csv"),
        )],
    },
    Bundled {
        name: "building",
        toml: include_str!("../../data/building/dataset.toml"),
        files: &[("rooms.csv", include_str!("../../data/building/rooms.csv"))],
    },
    Bundled {
        name: "energy",
        toml: include_str!("../../data/energy/dataset.toml"),
        files: &[("devices.csv", include_str!("../../data/energy/devices.csv"))],
    },
    Bundled {
        name: "vehicle",
        toml: include_str!("../../data/vehicle/dataset.toml"),
        files: &[],
    },
];

/// A dataset, and the text of each file that fills one of its tables.
pub struct Loaded {
    pub dataset: Dataset,
    pub files: Vec<(TableName, String)>,
}

pub fn names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|b| b.name)
}

/// By the name of a bundled dataset, or the path of a `dataset.toml`; the files that it loads stand beside it.
///
/// # Errors
/// The file or one beside it cannot be read, or says something that cannot stand; the text names file and line.
pub fn load(file: &str) -> anyhow::Result<Loaded> {
    let bundled = BUNDLED.iter().find(|b| b.name == file);
    let text = match bundled {
        Some(bundled) => bundled.toml.to_owned(),
        None => std::fs::read_to_string(file).with_context(|| {
            let names: Vec<&str> = names().collect();
            format!(
                "cannot read {file}; it is neither a file nor a bundled dataset ({})",
                names.join(", ")
            )
        })?,
    };
    let dataset = from_toml(&text).with_context(|| file.to_owned())?;
    let mut files = Vec::new();
    for (table, path) in &dataset.loads {
        let inside = bundled.and_then(|b| b.files.iter().find(|(name, _)| name == path));
        let text = match inside {
            Some((_, text)) => (*text).to_owned(),
            None => {
                let path = Path::new(file).with_file_name(path);
                std::fs::read_to_string(&path)
                    .with_context(|| format!("{file}: {table} loads {}", path.display()))?
            }
        };
        files.push((table.clone(), text));
    }
    Ok(Loaded { dataset, files })
}
