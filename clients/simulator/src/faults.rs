//! Faults on request: `nulls=.01,range=.02,type=.01,duplicates=.01,late=.05,seed=7`. Each is the share of rows that has it.

use std::str::FromStr;

use anyhow::{Context, bail};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub nulls: f64,
    pub range: f64,
    pub wrong_type: f64,
    pub duplicates: f64,
    pub late: f64,
    pub seed: Option<u64>,
}

impl FromStr for Faults {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut faults = Faults::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .with_context(|| format!("fault without a share: {part}; write name=share"))?;
            if name == "seed" {
                faults.seed = Some(
                    value
                        .parse()
                        .with_context(|| format!("seed is a whole number, got {value}"))?,
                );
                continue;
            }
            let share: f64 = value
                .parse()
                .with_context(|| format!("share of {name} is a number, got {value}"))?;
            if !(0.0..=1.0).contains(&share) {
                bail!("share of {name} is 0 to 1, got {share}");
            }
            match name {
                "nulls" => faults.nulls = share,
                "range" => faults.range = share,
                "type" => faults.wrong_type = share,
                "duplicates" => faults.duplicates = share,
                "late" => faults.late = share,
                _ => {
                    bail!("unknown fault {name}; known: nulls, range, type, duplicates, late, seed")
                }
            }
        }
        Ok(faults)
    }
}
