//! Paths into JSON, as `json_extract` takes them.

use crate::fault::Fault;

/// `$.a.b[0]['c d']` as the keys that follow each other, ready to be arguments.
///
/// # Errors
/// INVALID_ARGUMENT: it is another kind of path.
pub(in super::super) fn keys_of(path: &str) -> Result<Vec<String>, Fault> {
    let wrong = || {
        Fault::invalid(
            "invalid_query",
            format!(
                "a path into JSON is '$.key', '$.key[0]' or '$[''a key'']', without wildcards and filters, path={}",
                path.chars().take(100).collect::<String>()
            ),
        )
    };
    let quoted = |key: &str| format!("'{}'", key.replace('\'', "''"));
    let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
    let mut keys = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (key, left) = match after.strip_prefix('"') {
                Some(after) => after.split_once('"').ok_or_else(wrong)?,
                None => {
                    let end = after.find(['.', '[']).unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            if key.is_empty() || key == "*" {
                return Err(wrong());
            }
            keys.push(quoted(key));
            rest = left;
            continue;
        }
        let within = rest.strip_prefix('[').ok_or_else(wrong)?;
        let (key, left) = match within.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                let (key, left) = within
                    .get(1..)
                    .and_then(|w| w.split_once(quote))
                    .ok_or_else(wrong)?;
                (quoted(key), left.strip_prefix(']').ok_or_else(wrong)?)
            }
            _ => {
                let (index, left) = within.split_once(']').ok_or_else(wrong)?;
                let index: u32 = index.trim().parse().map_err(|_| wrong())?;
                (index.to_string(), left)
            }
        };
        keys.push(key);
        rest = left;
    }
    if keys.is_empty() {
        return Err(wrong());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::keys_of;

    #[test]
    fn a_path_is_a_list_of_keys() {
        for (path, keys) in [
            ("$.a", vec!["'a'"]),
            ("$.a.b[0].c", vec!["'a'", "'b'", "0", "'c'"]),
            ("$['a b'][\"c\"]", vec!["'a b'", "'c'"]),
            ("$.\"a.b\".c", vec!["'a.b'", "'c'"]),
        ] {
            assert_eq!(
                keys_of(path).ok(),
                Some(keys.into_iter().map(ToOwned::to_owned).collect()),
                "{path}"
            );
        }
        for bad in [
            "", "$", "a.b", "$.", "$..a", "$.*", "$[*]", "$[-1]", "$[1", "$['a]", "$a",
        ] {
            assert!(keys_of(bad).is_err(), "{bad}");
        }
    }
}
