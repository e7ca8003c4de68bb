"""What dbt sends for a seed, for models of each kind, for its tests and for its catalog: its own statements, each behind its comment."""

import adbc_driver_flightsql.dbapi as adbc
import pytest
from conftest import Server

COMMENT = '/* {"app": "dbt", "dbt_version": "1.10.0", "profile_name": "lake", "target_name": "dev", "node_id": "model.lake.%s"} */\n'


@pytest.fixture
def dbt(tmp_path):
    """Executes a statement as dbt's run does, and gives its rows."""
    server = Server(tmp_path / "data").start()

    def run(sql, node="orders"):
        cursor.execute(COMMENT % node + sql)
        return cursor.fetchall()

    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        seed(run)
        yield run
    server.stop()


def seed(dbt):
    """What each run begins with, and `dbt seed`, twice: the second one empties the table that it finds."""
    assert dbt('select count(*)\n    from "deltaplane".INFORMATION_SCHEMA.SCHEMATA\n    where catalog_name = \'deltaplane\' and schema_name = \'marts\'') == [(0,)]
    dbt('create schema if not exists "deltaplane"."marts"\n  ')
    assert "marts" in {name for (name,) in dbt('\n    select distinct schema_name from "deltaplane".INFORMATION_SCHEMA.SCHEMATA\n  ')}
    for first in ('create table "deltaplane"."marts"."raw_orders" ("id" integer,"customer" text,"amount" double precision,"at" timestamp)', 'truncate table "deltaplane"."marts"."raw_orders"'):
        dbt(first, "raw_orders")
        dbt('''
            insert into "deltaplane"."marts"."raw_orders" ("id", "customer", "amount", "at") values
            (1,'ann',10.5,'2026-01-01 00:00:00'),(2,'bob',20,'2026-01-02 00:00:00'),(3,null,7.25,'2026-01-03 00:00:00')
        ''', "raw_orders")
    assert relations(dbt) == {"raw_orders": "table"}


def relations(dbt):
    """What dbt finds in the schema, by the query of its adapters that have an information_schema."""
    found = dbt('''
    select
      'deltaplane' as database,
      table_name as name,
      table_schema as schema,
      CASE table_type
        WHEN 'BASE TABLE' THEN 'table'
        WHEN 'VIEW' THEN 'view'
        WHEN 'LOCAL TEMPORARY' THEN 'table'
        END as type
    from "deltaplane".information_schema.tables
    where lower(table_schema) = 'marts'
      and lower(table_catalog) = 'deltaplane'
  ''')
    return {name: kind for _, name, _, kind in found if not name.endswith("_quarantine")}


VIEW = '''
  create view "deltaplane"."marts"."stg_orders__dbt_tmp" as (
    with source as (

    select * from "deltaplane"."marts"."raw_orders"

),

renamed as (
    select id as order_id, customer, amount, at as ordered_at%s from source
)

select * from renamed
  );
'''


def run_view(dbt, more="", first=False):
    dbt(VIEW % more, "stg_orders")
    if not first:
        dbt('alter view "deltaplane"."marts"."stg_orders" rename to "stg_orders__dbt_backup"', "stg_orders")
    dbt('alter view "deltaplane"."marts"."stg_orders__dbt_tmp" rename to "stg_orders"', "stg_orders")
    dbt('drop view if exists "deltaplane"."marts"."stg_orders__dbt_backup" cascade', "stg_orders")


def test_a_view_model_is_made_and_made_again_with_another_column(dbt):
    run_view(dbt, first=True)
    assert relations(dbt) == {"raw_orders": "table", "stg_orders": "view"}
    run_view(dbt, ", amount > 8 as big")
    assert dbt('select order_id, big from "deltaplane"."marts"."stg_orders" order by 1') == [(1, True), (2, True), (3, False)]
    # The adapters that have it say it in one statement.
    dbt('create or replace view "deltaplane"."marts"."stg_orders" as (\n    select id as order_id from "deltaplane"."marts"."raw_orders"\n  );')
    assert dbt('select * from "deltaplane"."marts"."stg_orders" order by 1') == [(1,), (2,), (3,)]
    assert relations(dbt) == {"raw_orders": "table", "stg_orders": "view"}
    # Older versions rename views as tables.
    dbt('alter table "deltaplane"."marts"."stg_orders" rename to "stg_orders__dbt_backup"')
    dbt('alter view "deltaplane"."marts"."stg_orders__dbt_backup" rename to "deltaplane"."marts"."gone"')
    dbt('drop view if exists "deltaplane"."marts"."gone" cascade')
    assert relations(dbt) == {"raw_orders": "table"}


def test_a_table_model_takes_the_place_of_the_one_before(dbt):
    run_view(dbt, first=True)
    for first, least in [(True, 8), (False, 15)]:
        dbt(f'''
  create  table
    "deltaplane"."marts"."orders__dbt_tmp"

  as (

select order_id, customer, amount, case when amount > {least} then 'big' else 'small' end as size
from "deltaplane"."marts"."stg_orders"
  );
  ''')
        if not first:
            dbt('alter table "deltaplane"."marts"."orders" rename to "orders__dbt_backup"')
        dbt('alter table "deltaplane"."marts"."orders__dbt_tmp" rename to "orders"')
        dbt('drop table if exists "deltaplane"."marts"."orders__dbt_backup" cascade')
        assert dbt('select count(*) from "deltaplane"."marts"."orders" where size = \'big\'') == [(2 if first else 1,)]
    assert relations(dbt) == {"raw_orders": "table", "stg_orders": "view", "orders": "table"}
    dbt('create or replace table "deltaplane"."marts"."orders" as (\n    select order_id from "deltaplane"."marts"."stg_orders"\n  );')
    # A model that becomes a view: the table goes first.
    dbt('drop table if exists "deltaplane"."marts"."orders" cascade')
    dbt('create view "deltaplane"."marts"."orders" as (\n    select order_id from "deltaplane"."marts"."stg_orders"\n  );')
    assert relations(dbt)["orders"] == "view"


DELETES = {
    "by one key": '''
        delete from "deltaplane"."marts"."orders"
            where (
                order_id) in (
                select (order_id)
                from "deltaplane"."marts"."orders__dbt_tmp"
            );
    ''',
    "by one key, with aliases": '''
        delete from "deltaplane"."marts"."orders" as DBT_INTERNAL_DEST
        where (order_id) in (
            select distinct order_id
            from "deltaplane"."marts"."orders__dbt_tmp" as DBT_INTERNAL_SOURCE
        );
    ''',
    "by two keys": '''
        delete from "deltaplane"."marts"."orders"
            using "deltaplane"."marts"."orders__dbt_tmp"
            where (
                "deltaplane"."marts"."orders__dbt_tmp".order_id = "deltaplane"."marts"."orders".order_id
                and "deltaplane"."marts"."orders__dbt_tmp".ordered_at = "deltaplane"."marts"."orders".ordered_at
            );
    ''',
    "append": None,
}


@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
def test_an_incremental_model_takes_what_is_new(dbt, delete):
    run_view(dbt, first=True)
    dbt('create  table\n    "deltaplane"."marts"."orders"\n  as (\n    select order_id, customer, amount, ordered_at from "deltaplane"."marts"."stg_orders"\n  );')
    dbt('update "deltaplane"."marts"."raw_orders" set customer = \'cleo\' where id = 3', "raw_orders")
    dbt("insert into \"deltaplane\".\"marts\".\"raw_orders\" (\"id\", \"customer\", \"amount\", \"at\") values\n            (4,'dan',1,'2026-01-04 00:00:00')\n        ", "raw_orders")
    # A client that is in no session has no temporary table for what is new.
    with pytest.raises(adbc.Error, match="temporary"):
        dbt('create temporary table "orders__dbt_tmp" as (select 1 as order_id)')
    newer = ">=" if delete else ">"
    dbt(f'''
    create table "deltaplane"."marts"."orders__dbt_tmp"
      as (
    select order_id, customer, amount, ordered_at from "deltaplane"."marts"."stg_orders"
    where ordered_at {newer} (select coalesce(max(ordered_at),'1900-01-01'::timestamp) from "deltaplane"."marts"."orders" )
      );''')
    columns = dbt('''
      select
          column_name,
          data_type,
          character_maximum_length,
          numeric_precision,
          numeric_scale
      from "deltaplane".INFORMATION_SCHEMA.columns
      where table_name = 'orders__dbt_tmp'
        and table_schema = 'marts'
      order by ordinal_position''')
    assert [row[0] for row in columns] == ["order_id", "customer", "amount", "ordered_at"]
    if delete:
        dbt(delete)
    dbt('''
    insert into "deltaplane"."marts"."orders" ("order_id", "customer", "amount", "ordered_at")
    (
        select "order_id", "customer", "amount", "ordered_at"
        from "deltaplane"."marts"."orders__dbt_tmp"
    )
  ''')
    dbt('drop table if exists "deltaplane"."marts"."orders__dbt_tmp" cascade')
    assert dbt('select order_id, customer from "deltaplane"."marts"."orders" order by 1') == [(1, "ann"), (2, "bob"), (3, "cleo" if delete else None), (4, "dan")]
    # A model with a new column, for `on_schema_change: append_new_columns`.
    dbt('alter table "deltaplane"."marts"."orders"\n            add column "note" text,\n            add column "code" character varying(256)')
    assert dbt('select note, code from "deltaplane"."marts"."orders" where order_id = 1') == [(None, None)]


def test_the_strategy_merge_changes_what_is_there_and_adds_what_is_new(dbt):
    """It names the columns to insert without their table: those are the source's, and in the last clause the table's."""
    dbt('create table "deltaplane"."marts"."orders" as (select 1 as order_id, 2.5 as amount union all select 1001, 9.5 union all select 5, 6.5)')
    dbt('create table "deltaplane"."marts"."orders__dbt_tmp" as (select 1 as order_id, 3.5 as amount union all select 2, 4.5 union all select 3, 0.5)')
    merge = '''
    merge into "deltaplane"."marts"."orders" as DBT_INTERNAL_DEST
        using "deltaplane"."marts"."orders__dbt_tmp" as DBT_INTERNAL_SOURCE
        on ((DBT_INTERNAL_SOURCE.order_id = DBT_INTERNAL_DEST.order_id))
    when matched then update set
        "order_id" = DBT_INTERNAL_SOURCE."order_id","amount" = DBT_INTERNAL_SOURCE."amount"
    when not matched and amount > 1 then insert
        ("order_id", "amount")
    values
        ("order_id", "amount")
    when not matched by source and order_id > 1000 then delete
    '''
    for _ in range(2):
        dbt(merge)
        assert dbt('select order_id, amount from "deltaplane"."marts"."orders" order by 1') == [(1, 3.5), (2, 4.5), (5, 6.5)]
    dbt(merge.replace("then delete", "then update set amount = amount + order_id").replace("order_id > 1000", "order_id > 4"))
    assert dbt('select order_id, amount from "deltaplane"."marts"."orders" order by 1') == [(1, 3.5), (2, 4.5), (5, 11.5)]
    with pytest.raises(adbc.Error, match="column_not_visible"):
        dbt(merge.replace("and amount > 1", "and DBT_INTERNAL_DEST.amount > 1"))


def test_a_snapshot_is_begun_and_closed(dbt):
    dbt('''
    create table "deltaplane"."marts"."orders_snapshot"
      as (
    select *,
        md5(coalesce(cast(id as varchar ), '')
         || '|' || coalesce(cast(at as varchar ), '')
        ) as dbt_scd_id,
        at as dbt_updated_at,
        at as dbt_valid_from,
        coalesce(nullif(at, at), null) as dbt_valid_to
    from (
    select * from "deltaplane"."marts"."raw_orders"
    ) sbq
      );''')
    dbt('''
    update "deltaplane"."marts"."orders_snapshot"
    set dbt_valid_to = DBT_INTERNAL_SOURCE.dbt_valid_to
    from (select dbt_scd_id, timestamp '2026-02-01 00:00:00' as dbt_valid_to from "deltaplane"."marts"."orders_snapshot" where id = 1) as DBT_INTERNAL_SOURCE
    where DBT_INTERNAL_SOURCE.dbt_scd_id::text = "deltaplane"."marts"."orders_snapshot".dbt_scd_id::text
      and "deltaplane"."marts"."orders_snapshot".dbt_valid_to is null''')
    assert dbt('select id from "deltaplane"."marts"."orders_snapshot" where dbt_valid_to is null order by 1') == [(2,), (3,)]


@pytest.mark.parametrize("failures, test", [
    (1, 'select customer\nfrom "deltaplane"."marts"."raw_orders"\nwhere customer is null'),
    (0, 'select\n    id as unique_field,\n    count(*) as n_records\nfrom "deltaplane"."marts"."raw_orders"\nwhere id is not null\ngroup by id\nhaving count(*) > 1'),
    (1, '''with all_values as (
    select customer as value_field, count(*) as n_records
    from "deltaplane"."marts"."raw_orders"
    group by customer
)
select *
from all_values
where value_field not in (
    'ann','eve'
)'''),
    (0, '''with child as (
    select id as from_field from "deltaplane"."marts"."raw_orders" where id is not null
),
parent as (
    select id as to_field from "deltaplane"."marts"."raw_orders"
)
select from_field
from child
left join parent
    on child.from_field = parent.to_field
where parent.to_field is null'''),
], ids=["not_null", "unique", "accepted_values", "relationships"])
def test_its_tests_count_what_fails(dbt, failures, test):
    assert dbt(f'''
    select
      count(*) as failures,
      count(*) != 0 as should_warn,
      count(*) != 0 as should_error
    from (

{test}

    ) dbt_internal_test''', "not_null") == [(failures, failures > 0, failures > 0)]


def test_its_catalog_lists_columns_with_their_tables(dbt):
    found = dbt('''
    with tables as (
      select table_catalog as table_database, table_schema, table_name, table_type
      from "deltaplane".information_schema.tables
    ),
    columns as (
      select table_catalog as table_database, table_schema, table_name, column_name, ordinal_position as column_index, data_type as column_type
      from "deltaplane".information_schema.columns
    )
    select columns.table_database, columns.table_schema, columns.table_name, tables.table_type, column_name, column_index, column_type
    from columns
    join tables on tables.table_database = columns.table_database and tables.table_schema = columns.table_schema and tables.table_name = columns.table_name
    where upper(columns.table_schema) = upper('marts') and columns.table_name = 'raw_orders'
    order by column_index''')
    assert [row[:5] for row in found] == [("deltaplane", "marts", "raw_orders", "BASE TABLE", name) for name in ("id", "customer", "amount", "at")]
    # A preview, and a query that asks for the columns alone.
    assert len(dbt('select *\nfrom (\n    select id from "deltaplane"."marts"."raw_orders"\n) as model_limit_subq\nlimit 2')) == 2
    assert dbt('select * from (\n        select id from "deltaplane"."marts"."raw_orders"\n    ) as __dbt_sbq\n    where false\n    limit 0') == []
