"""The batteries' day, every night at 02:00 UTC: `deltaplane process energy` for the day before.

A run again replaces the day's rows and adds none, so the one retry is safe. Exit code 99 says that the day has no rows: nothing was changed, and the task
is shown as skipped. The JSON report is the task's XCom. Airflow 2.9 or newer; `deltaplane` has to be on the worker's PATH.
"""

import datetime as dt
import os

from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # before Airflow 3
    from airflow.operators.bash import BashOperator

with DAG(
    dag_id="deltaplane_energy",
    schedule="0 2 * * *",
    start_date=dt.datetime(2025, 8, 1, tzinfo=dt.timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": dt.timedelta(minutes=5)},
    tags=["deltaplane"],
):
    BashOperator(
        task_id="process",
        # The interval ends when the run is due, in Airflow 2 and 3 alike; the day before it is the one to make.
        bash_command="deltaplane process energy --date {{ macros.ds_add(data_interval_end | ds, -1) }}",
        env={"DELTAPLANE_URI": os.environ.get("DELTAPLANE_URI", "http://127.0.0.1:32010")},
        append_env=True,
        skip_on_exit_code=99,
        do_xcom_push=True,
    )
