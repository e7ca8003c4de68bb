"""The SQL that stands on pages, and the answers that stand below it."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
# A block, and the answer that follows at once.
BLOCK = re.compile(r"^```sql\n(.*?)^```\n(?:\n```csv\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
# A query in the running text that names a dataset's table, and one that is given to the command line.
INLINE = re.compile(r"`(SELECT [^`]* FROM (?:\w+\.\w+|\w+\('\w+\.)[^`]*)`|deltaplane sql \"([^\"]*)\"")


@dataclasses.dataclass
class Shown:
    """A statement of a page. `line`: where its block begins; `answer`: what the page shows below it as CSV, or None."""
    line: int
    sql: str
    answer: str | None = None


def split(block):
    """A block's statements. Each ends with a semicolon at the end of a line, behind which a comment may stand."""
    statement = []
    for line in block.splitlines(keepends=True):
        code = line.split(" --")[0].rstrip()
        if not code.endswith(";"):
            statement.append(line)
            continue
        yield "".join(statement) + code[:-1]
        statement = []
    if rest := "".join(statement).strip():
        yield rest


def statements(path):
    """The statements of a page, in their order. Those of the running text are left out where they leave something out themselves (`..`)."""
    text, shown = path.read_text(), []
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        parts = list(split(block[1]))
        shown += [Shown(line, sql.strip(), block[2] if i == len(parts) - 1 else None) for i, sql in enumerate(parts)]
    for span in INLINE.finditer(text):
        if ".." not in span[0]:
            shown.append(Shown(text.count("\n", 0, span.start()) + 1, span[1] or span[2]))
    return sorted(shown, key=lambda s: s.line)


def pages():
    """Every page for users that shows SQL. Those of the datasets need their samples, see test_oracles."""
    found = [ROOT / "README.md", ROOT / "data/README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [page for page in found if statements(page)]
