//! `deltaplane sql`: one statement, standard input, or a prompt.

use std::io::{IsTerminal, Read};

use arrow::array::RecordBatch;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use deltaplane_client::SqlClient;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::Outcome;

pub async fn run(uri: &str, statement: Option<&String>, format: &str) -> anyhow::Result<Outcome> {
    let mut client = SqlClient::connect(uri).await?;
    if let Some(statement) = statement {
        execute(&mut client, statement, format).await?;
        return Ok(Outcome::Done);
    }
    if !std::io::stdin().is_terminal() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        execute(&mut client, &text, format).await?;
        return Ok(Outcome::Done);
    }
    prompt(&mut client, format).await
}

async fn prompt(client: &mut SqlClient, format: &str) -> anyhow::Result<Outcome> {
    println!("One statement ends with ;  Ctrl-D leaves.");
    let mut editor = DefaultEditor::new()?;
    let history = history_file();
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    let mut pending = String::new();
    loop {
        let sign = if pending.is_empty() {
            "deltaplane> "
        } else {
            "       ...> "
        };
        match editor.readline(sign) {
            Ok(line) => {
                pending.push_str(&line);
                pending.push('\n');
                if !line.trim_end().ends_with(';') {
                    continue;
                }
                let statement = std::mem::take(&mut pending);
                editor.add_history_entry(statement.trim())?;
                if let Err(error) = execute(client, &statement, format).await {
                    eprintln!("{error:#}");
                }
            }
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(path) = &history {
        let _ = editor.save_history(path);
    }
    Ok(Outcome::Done)
}

fn history_file() -> Option<std::path::PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(std::path::PathBuf::from);
    let state = state.or_else(|| {
        Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".local/state"))
    })?;
    let dir = state.join("deltaplane");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}

async fn execute(client: &mut SqlClient, statement: &str, format: &str) -> anyhow::Result<()> {
    let writes = statement
        .split_whitespace()
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("INSERT"));
    if writes {
        let rows = client.update(statement).await.map_err(readable)?;
        println!("{rows} rows");
        return Ok(());
    }
    let (schema, batches) = client.query(statement).await.map_err(readable)?;
    if schema.fields().is_empty() {
        println!("done");
        return Ok(());
    }
    println!("{}", render(&batches, &schema, format)?);
    Ok(())
}

/// The server's own words, with the gRPC code.
fn readable(error: anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    for cause in error.chain() {
        if let Some(status) = cause.downcast_ref::<tonic::Status>() {
            return anyhow::anyhow!("{:?}: {}", status.code(), status.message());
        }
    }
    anyhow::anyhow!(text)
}

pub fn render(
    batches: &[RecordBatch],
    schema: &arrow::datatypes::SchemaRef,
    format: &str,
) -> anyhow::Result<String> {
    match format {
        "csv" => {
            let mut out = Vec::new();
            let mut writer = arrow::csv::Writer::new(&mut out);
            if batches.is_empty() {
                writer.write(&RecordBatch::new_empty(schema.clone()))?;
            }
            batches.iter().try_for_each(|b| writer.write(b))?;
            drop(writer);
            Ok(String::from_utf8(out)?.trim_end().to_owned())
        }
        "json" => {
            let mut out = Vec::new();
            let mut writer = arrow::json::LineDelimitedWriter::new(&mut out);
            writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
            writer.finish()?;
            drop(writer);
            Ok(String::from_utf8(out)?.trim_end().to_owned())
        }
        _ => {
            let options = FormatOptions::default()
                .with_null("NULL")
                .with_display_error(true);
            let empty = [RecordBatch::new_empty(schema.clone())];
            let shown = if batches.is_empty() {
                &empty[..]
            } else {
                batches
            };
            Ok(pretty_format_batches_with_options(shown, &options)?.to_string())
        }
    }
}
