"""Statements that differed once: the smallest of each reason, as text in both dialects. One that differed now and then is asked `times`."""

import pyarrow as pa

from .answers import differ
from .engines import SCHEMAS, Failed
from .tree import ARROW


def ask_kept(session, case):
    """How the answers to a kept statement differ, or None. `@` stands for the schema; `bound` has a type and a text for each `?`."""
    theirs = session.duck.ask_text(case.get("duck", case["ours"]).replace("@.", ""))
    for schema in SCHEMAS * case.get("times", 1):
        bound = [pa.array([text], pa.string()).cast(ARROW[type]) for type, text in case["bound"]] if "bound" in case else None
        ours = session.ours.ask_text(case["ours"].replace("@", schema), bound)
        if isinstance(ours, Failed) or isinstance(theirs, Failed):
            if isinstance(ours, Failed) != isinstance(theirs, Failed):
                return f"{schema}: {ours.text if isinstance(ours, Failed) else f'answers where DuckDB says {theirs.text}'}"
        elif words := differ(ours, theirs, case.get("order", []), inexact=True):
            return f"{schema}: {words}"
    return None
