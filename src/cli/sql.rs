//! `deltaplane sql`: statements from the command line, standard input, or a prompt. Several are separated by `;` and run in
//! order, up to the first that fails.

use std::io::{IsTerminal, Read, Write};
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use arrow_flight::error::FlightError;
use deltaplane_client::SqlClient;
use deltaplane_client::sql::Answer;
use futures::TryStreamExt;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use super::Outcome;
use super::complete::Words;
use super::export::encode;

const HELP: &str = "A statement ends with ;  Tab completes keywords, tables and columns.
  \\d           lists tables             \\d NAME   describes one
  \\c NAME      shows how it was created \\q        leaves, as Ctrl-D does
  \\?           this help";

pub(super) async fn run(
    uri: &str,
    statement: Option<&String>,
    format: &str,
) -> anyhow::Result<Outcome> {
    let mut client = SqlClient::connect(uri).await?;
    let done = told(&mut client, statement, format).await;
    client.end_session().await;
    done
}

async fn told(
    client: &mut SqlClient,
    statement: Option<&String>,
    format: &str,
) -> anyhow::Result<Outcome> {
    let text = match statement {
        Some(statement) => statement.clone(),
        None if std::io::stdin().is_terminal() => return prompt(client, format).await,
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
    };
    for statement in statements(&text) {
        execute(client, statement, format).await?;
    }
    Ok(Outcome::Done)
}

/// The statements of a text: `;` ends one, but for those in quotes and comments. Empty ones are left out.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut has_words) = (0, false);
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let next = rest.peek().map(|(_, c)| *c);
        match (c, next) {
            ('\'' | '"' | '`', _) => {
                has_words = true;
                // A doubled quote ends one text and begins the next, which comes to the same.
                rest.by_ref().find(|(_, end)| *end == c);
            }
            ('-', Some('-')) => {
                rest.by_ref().find(|(_, end)| *end == '\n');
            }
            ('/', Some('*')) => {
                let mut before = ' ';
                rest.next();
                rest.by_ref().find(|(_, end)| {
                    let ends = before == '*' && *end == '/';
                    before = *end;
                    ends
                });
            }
            (';', _) => {
                if has_words {
                    out.push(text[start..at].trim());
                }
                start = at + 1;
                has_words = false;
            }
            (c, _) => has_words |= !c.is_whitespace(),
        }
    }
    if has_words {
        out.push(text[start..].trim());
    }
    out
}

async fn prompt(client: &mut SqlClient, format: &str) -> anyhow::Result<Outcome> {
    println!("{HELP}");
    let mut editor: Editor<Words, FileHistory> = Editor::new()?;
    editor.set_helper(Some(Words::default()));
    learn(client, &mut editor).await;
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
            Ok(line) if pending.is_empty() && line.trim_start().starts_with('\\') => {
                editor.add_history_entry(line.trim())?;
                match command(line.trim()) {
                    Command::Leave => break,
                    Command::Help => println!("{HELP}"),
                    Command::Run(statement) => show(client, &statement, format).await,
                }
            }
            Ok(line) => {
                pending.push_str(&line);
                pending.push('\n');
                if !line.trim_end().ends_with(';') {
                    if pending.trim().is_empty() {
                        pending.clear();
                    }
                    continue;
                }
                let text = std::mem::take(&mut pending);
                editor.add_history_entry(text.trim())?;
                for statement in statements(&text) {
                    show(client, statement, format).await;
                    if changes_tables(statement) {
                        learn(client, &mut editor).await;
                    }
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

enum Command {
    Leave,
    Help,
    Run(String),
}

/// What a line that begins with a backslash asks for.
fn command(line: &str) -> Command {
    let (word, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = name.trim().trim_end_matches(';');
    match (word, name) {
        ("\\q", _) => Command::Leave,
        ("\\d" | "\\dt", "") => Command::Run("SHOW TABLES".to_owned()),
        ("\\d", name) => Command::Run(format!("DESCRIBE {name}")),
        ("\\c", name) if !name.is_empty() => Command::Run(format!("SHOW CREATE TABLE {name}")),
        _ => Command::Help,
    }
}

fn changes_tables(statement: &str) -> bool {
    let word = statement.split_whitespace().next().unwrap_or_default();
    ["CREATE", "DROP", "ALTER"]
        .iter()
        .any(|w| word.eq_ignore_ascii_case(w))
}

/// Asks the server for the names that completion offers. Without them keywords are left.
async fn learn(client: &mut SqlClient, editor: &mut Editor<Words, FileHistory>) {
    let asked = client
        .query("SELECT table_schema, table_name, column_name FROM information_schema.columns")
        .await;
    let (Ok((_, batches)), Some(words)) = (asked, editor.helper_mut()) else {
        return;
    };
    let mut columns = Vec::new();
    for batch in &batches {
        let texts: Vec<_> = batch
            .columns()
            .iter()
            .filter_map(|c| c.as_string_opt::<i32>())
            .collect();
        if let [schema, table, column] = texts.as_slice() {
            columns.extend((0..batch.num_rows()).map(|row| {
                let text = |c: &arrow::array::StringArray| c.value(row).to_owned();
                (text(schema), text(table), text(column))
            }));
        }
    }
    words.set(columns);
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

/// One statement at the prompt: its answer or its error, and how long it took.
async fn show(client: &mut SqlClient, statement: &str, format: &str) {
    let started = Instant::now();
    match execute(client, statement, format).await {
        Ok(()) => eprintln!("{} ms", started.elapsed().as_millis()),
        Err(error) => eprintln!("{error:#}"),
    }
}

async fn execute(client: &mut SqlClient, statement: &str, format: &str) -> anyhow::Result<()> {
    let answer = client.run(statement).await.map_err(readable)?;
    if answer.schema.fields().is_empty() {
        // The stream's end is the statement's.
        let _: Vec<RecordBatch> = answer.batches.try_collect().await.map_err(readable)?;
        let said = match answer.written {
            Some(1) => "1 row".to_owned(),
            Some(rows) if !changes_tables(statement) => format!("{rows} rows"),
            _ => "done".to_owned(),
        };
        // With a machine's format only rows go to its output.
        match format {
            "table" => println!("{said}"),
            _ => eprintln!("{said}"),
        }
        return Ok(());
    }
    match format {
        "table" => {
            let schema = answer.schema.clone();
            let rows: Vec<RecordBatch> = answer.batches.try_collect().await.map_err(readable)?;
            println!("{}", render(&rows, &schema, format)?);
            Ok(())
        }
        _ => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let written = write(answer, format, &mut out).await;
            match written.and_then(|()| Ok(out.flush()?)) {
                // Whoever read it has had enough, as `head` does.
                Err(error) if is_broken_pipe(&error) => Ok(()),
                other => other,
            }
        }
    }
}

pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            || cause.to_string().contains("Broken pipe")
    })
}

/// Rows as they come, in a machine's format: no more than a batch is in memory.
async fn write(mut answer: Answer, format: &str, out: &mut impl Write) -> anyhow::Result<()> {
    if format == "arrow" {
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(out, &answer.schema)?;
        while let Some(batch) = answer.batches.try_next().await.map_err(readable)? {
            writer.write(&batch)?;
        }
        return Ok(writer.finish()?);
    }
    let mut is_first = true;
    loop {
        let batch = match answer.batches.try_next().await.map_err(readable)? {
            Some(batch) => batch,
            // A header is due even if no row comes.
            None if is_first => RecordBatch::new_empty(answer.schema.clone()),
            None => return Ok(()),
        };
        encode(&batch, format, is_first, out)?;
        is_first = false;
    }
}

/// The server's own words, with the gRPC code.
pub(super) fn readable(error: anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    for cause in error.chain() {
        let status = match cause.downcast_ref::<FlightError>() {
            Some(FlightError::Tonic(status)) => Some(&**status),
            _ => cause.downcast_ref::<tonic::Status>(),
        };
        if let Some(status) = status {
            return anyhow::anyhow!("{:?}: {}", status.code(), status.message());
        }
    }
    anyhow::anyhow!(text)
}

pub(super) fn render(
    batches: &[RecordBatch],
    schema: &SchemaRef,
    format: &str,
) -> anyhow::Result<String> {
    let empty = [RecordBatch::new_empty(schema.clone())];
    let shown = if batches.is_empty() {
        &empty[..]
    } else {
        batches
    };
    if format == "table" {
        let options = FormatOptions::default()
            .with_null("NULL")
            .with_display_error(true);
        return Ok(pretty_format_batches_with_options(shown, &options)?.to_string());
    }
    let mut out = Vec::new();
    for (at, batch) in shown.iter().enumerate() {
        encode(batch, format, at == 0, &mut out)?;
    }
    Ok(String::from_utf8(out)?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_by_semicolons_outside_of_quotes_and_comments() {
        let text = "SELECT ';', \"a;b\", 'it''s;'; -- not; here\n\n/* nor; here */ INSERT INTO t VALUES (1);;\nSELECT 2";
        let found = statements(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "SELECT ';', \"a;b\", 'it''s;'");
        assert!(found[1].ends_with("VALUES (1)"));
        assert_eq!(found[2], "SELECT 2");
        assert!(statements(" ;; -- nothing\n/* at all */").is_empty());
    }
}
