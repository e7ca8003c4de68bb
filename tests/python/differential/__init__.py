"""Generated queries whose answers must agree: of hot and of committed rows, with literals and with bound parameters, here and in DuckDB.

One tree has two spellings (`tree`), so that the same query can be asked in both dialects. `expressions` and `queries` make trees from a seed, `tables` makes the rows,
`engines` asks, `answers` and `check` compare, `shrink` makes a difference small. What is known to differ, and why, is in `reasons`; the smallest statement of
each reason is in `kept.toml`. `docs/differences-from-duckdb.md` explains the differences to users.
"""
