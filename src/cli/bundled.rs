//! The datasets that the binary carries, and reading others from disk.

use std::path::Path;

use anyhow::{Context, anyhow, bail};

use crate::dataset::{Contract, Dataset, Error, from_toml};
use crate::types::{SameName, TableName};

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
pub(super) struct Loaded {
    /// As it was named: a path, or a bundled dataset.
    pub name: String,
    pub dataset: Dataset,
    pub files: Vec<(TableName, String)>,
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|b| b.name)
}

/// By the name of a bundled dataset, or the path of a `dataset.toml`; the files that it loads stand beside it.
///
/// # Errors
/// The file or one beside it cannot be read, or says something that cannot stand; the text names file and line.
pub(super) fn load(file: &str) -> anyhow::Result<Loaded> {
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
    // `file:line: what` is what editors and terminals jump to.
    let dataset = from_toml(&text).map_err(|e| match e {
        Error::At { line, source } => anyhow!("{file}:{line}: {source}"),
        other => anyhow!("{file}: {other}"),
    })?;
    let mut files = Vec::new();
    for load in &dataset.loads {
        let inside = bundled.and_then(|b| b.files.iter().find(|(name, _)| *name == load.path));
        let path = Path::new(file).with_file_name(&load.path);
        let text = match inside {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(&path).with_context(|| {
                format!(
                    "{file}:{}: {} loads {}, which cannot be read; it stands beside this file",
                    load.line,
                    load.table,
                    path.display()
                )
            })?,
        };
        let contract = dataset.tables.iter().find(|t| t.table == load.table);
        if let Some(contract) = contract {
            check_header(contract, &text)
                .with_context(|| format!("{}:1: it fills {}", path.display(), load.table))?;
        }
        files.push((load.table.clone(), text));
    }
    Ok(Loaded {
        name: file.to_owned(),
        dataset,
        files,
    })
}

/// The first line of a file that fills a table names its columns, the required ones all.
fn check_header(contract: &Contract, text: &str) -> anyhow::Result<()> {
    let columns: Vec<&str> = contract.columns.iter().map(|c| c.name.as_str()).collect();
    let columns = columns.join(", ");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers()?;
    if header.is_empty() {
        bail!("the file is empty; its first line names columns: {columns}");
    }
    let comes_as = |c: &crate::dataset::Column, name: &str| {
        c.name.is_same_name(name) || c.from.as_deref() == Some(name)
    };
    for name in header.iter().map(str::trim) {
        if !contract.columns.iter().any(|c| comes_as(c, name)) {
            bail!("unknown column in the header, column={name:?}; columns: {columns}");
        }
    }
    let lacks = |c: &&crate::dataset::Column| {
        c.required
            && c.default.is_none()
            && c.from.is_none()
            && !header.iter().any(|name| comes_as(c, name.trim()))
    };
    if let Some(missing) = contract.columns.iter().find(lacks) {
        bail!(
            "required column missing in the header, column={}; columns: {columns}",
            missing.name
        );
    }
    Ok(())
}

/// No two of the files may declare one table.
///
/// # Errors
/// Names both files and the table.
pub(super) fn check_apart(loaded: &[Loaded]) -> anyhow::Result<()> {
    for (index, later) in loaded.iter().enumerate() {
        for table in later.dataset.tables.iter().map(|t| &t.table) {
            let same = |l: &&Loaded| {
                let mut tables = l.dataset.tables.iter();
                tables.any(|t| t.table.folded() == table.folded())
            };
            if let Some(first) = loaded.iter().take(index).find(same) {
                bail!(
                    "{table} is declared by {} and by {}; leave it to one of them",
                    first.name,
                    later.name
                );
            }
        }
    }
    Ok(())
}
