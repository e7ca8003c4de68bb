"""Comparing answers: values and the kinds of their types, floating point numbers as near as the order of addition allows."""

import collections
import itertools
import math

import pyarrow as pa

NEAR = 1e-9


def type_class(type):
    if pa.types.is_integer(type) or pa.types.is_decimal(type) and type.scale == 0:
        return "integer"
    if pa.types.is_floating(type):
        return "float"
    if pa.types.is_decimal(type):
        return "decimal"
    if pa.types.is_timestamp(type):
        return "instant" if type.tz else "local time"
    for name, check in (("text", pa.types.is_string), ("text", pa.types.is_large_string), ("text", pa.types.is_string_view), ("bytes", pa.types.is_binary), ("bool", pa.types.is_boolean), ("date", pa.types.is_date)):
        if check(type):
            return name
    return str(type)


def values(column):
    type = column.type
    if pa.types.is_timestamp(type):
        column = column.cast(pa.timestamp("us", type.tz)).cast(pa.int64())
    elif pa.types.is_date(type):
        column = column.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_integer(type) or pa.types.is_decimal(type):
        return [None if v is None else int(v) if v == int(v) else v for v in column.to_pylist()]
    elif pa.types.is_floating(type):
        # Zero has one value with two signs; which one a group shows is not promised.
        return [None if v is None else "nan" if v != v else v + 0.0 if v else 0.0 for v in column.to_pylist()]
    return column.to_pylist()


class Rows:
    def __init__(self, table):
        self.classes = [type_class(f.type) for f in table.schema]
        self.rows = list(zip(*[values(c) for c in table.columns])) if table.num_columns else []


def near(a, b):
    if a == b:
        return True
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=NEAR, abs_tol=NEAR)
    return False


def alike(a, b):
    return len(a) == len(b) and all(near(x, y) for x, y in zip(a, b))


def apart(a, b):
    return sum(abs(x - y) for x, y in zip(a, b) if isinstance(x, float) and isinstance(y, float) and x != y)


def sort_key(row):
    # Texts of floats come last, and rounded, so that nearly equal rows meet.
    exact = [("n", "") if v is None else (type(v).__name__, v) for v in row if not isinstance(v, float)]
    return [(k, repr(v) if not isinstance(v, (int, str)) or isinstance(v, bool) else f"{v:025d}" if isinstance(v, int) else v) for k, v in exact], [f"{v:+.6e}" for v in row if isinstance(v, float)]


def hashable(value):
    """The same for equal rows, and only for them: a list of values within a row is a tuple here."""
    if isinstance(value, (list, tuple)):
        return tuple(map(hashable, value))
    if isinstance(value, dict):
        return tuple(sorted((key, hashable(item)) for key, item in value.items()))
    return value


def exact(row):
    """What two rows that are only near have in common."""
    return tuple(None if isinstance(v, float) else hashable(v) for v in row)


def differ(ours, theirs, order, inexact):
    """Why two answers differ, or None. `order`: the columns that they are ordered by. `inexact`: sums may have been added in another order."""
    if ours.classes != theirs.classes:
        return f"types {ours.classes} and {theirs.classes}"
    if len(ours.rows) != len(theirs.rows):
        return f"{len(ours.rows)} and {len(theirs.rows)} rows"
    same = alike if inexact else lambda a, b: a == b
    left, right = sorted(ours.rows, key=sort_key), sorted(theirs.rows, key=sort_key)
    if not all(same(a, b) for a, b in zip(left, right)):
        # Equal ones first, so that none is taken for one that is only near, and counted, because answers can be large.
        unmatched = collections.Counter(map(hashable, right))
        other = []
        for row in left:
            if unmatched[key := hashable(row)]:
                unmatched[key] -= 1
            else:
                other.append(row)
        rest = collections.defaultdict(list)
        for row in right:
            if unmatched[key := hashable(row)]:
                unmatched[key] -= 1
                rest[exact(row)].append(row)
        alone = []
        for row in other:
            # The nearest, because a tenth of a billionth of a time in seconds is longer than two of them are apart.
            candidates = rest[exact(row)]
            found = [i for i, theirs in enumerate(candidates) if same(row, theirs)]
            if found:
                candidates.pop(min(found, key=lambda i: apart(row, candidates[i])))
            else:
                alone.append(row)
        if alone:
            return f"rows {alone[:3]} and {list(itertools.chain(*rest.values()))[:3]}"
    if order:
        keys = lambda rows: [tuple(row[i] for i in order) for row in rows]
        if not all(same(a, b) for a, b in zip(keys(ours.rows), keys(theirs.rows))):
            return f"order {keys(ours.rows)[:6]} and {keys(theirs.rows)[:6]}"
    return None
