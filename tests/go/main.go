// Command clientcheck prints one line for each capability of tests/python/clients, by arrow-go's client for Flight SQL: "yes tree", or
// "broken types: why". The line "yes grafana" is for the calls of Grafana's Flight SQL plugin, which is built on this client.
// Arguments: host and port, and a schema that no other client has.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var (
	client  *flightsql.Client
	schema  string
	columns = strings.Fields("id tiny small n ok x f t raw day at local price")
)

// check panics with what was expected; cell prints it.
func check(holds bool, format string, args ...any) {
	if !holds {
		panic(fmt.Sprintf(format, args...))
	}
}

func must[T any](value T, err error) T {
	check(err == nil, "%v", err)
	return value
}

func cell(capability string, run func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() {
		if e := recover(); e != nil {
			fmt.Printf("broken %s: %v\n", capability, e)
		} else {
			fmt.Printf("yes %s\n", capability)
		}
	}()
	run(ctx)
}

// fetch reads the one endpoint's rows, each a text with its values between commas.
func fetch(ctx context.Context, info *flight.FlightInfo, err error) (*arrow.Schema, []string) {
	check(err == nil, "%v", err)
	check(len(info.Endpoint) == 1 && len(info.Endpoint[0].Location) == 0, "one endpoint, without a location: %v", info.Endpoint)
	told := must(flight.DeserializeSchema(info.Schema, memory.DefaultAllocator))
	reader := must(client.DoGet(ctx, info.Endpoint[0].Ticket))
	defer reader.Release()
	check(reader.Schema().Equal(told), "the stream has another schema than its FlightInfo: %v, %v", reader.Schema(), told)
	var rows []string
	for reader.Next() {
		batch := reader.RecordBatch()
		for row := range int(batch.NumRows()) {
			values := make([]string, batch.NumCols())
			for i, column := range batch.Columns() {
				values[i] = column.ValueStr(row)
			}
			rows = append(rows, strings.Join(values, ","))
		}
	}
	check(reader.Err() == nil, "%v", reader.Err())
	return told, rows
}

func query(ctx context.Context, sql string) []string {
	info, err := client.Execute(ctx, sql)
	_, rows := fetch(ctx, info, err)
	return rows
}

func update(ctx context.Context, sql string) int64 {
	return must(client.ExecuteUpdate(ctx, strings.ReplaceAll(sql, "{}", schema)))
}

// pairs makes n rows of a BIGINT and a STRING.
func pairs(n int) arrow.RecordBatch {
	fields := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "b", Type: arrow.BinaryTypes.String}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, fields)
	defer builder.Release()
	for i := range n {
		builder.Field(0).(*array.Int64Builder).Append(int64(i))
		builder.Field(1).(*array.StringBuilder).Append(fmt.Sprint("r", i))
	}
	return builder.NewRecordBatch()
}

func names(fields []arrow.Field) (out []string) {
	for _, field := range fields {
		out = append(out, field.Name)
	}
	return out
}

func tree(ctx context.Context) {
	info, err := client.GetCatalogs(ctx)
	_, rows := fetch(ctx, info, err)
	check(reflect.DeepEqual(rows, []string{"deltaplane"}), "catalogs %v", rows)
	lab := "lab"
	info, err = client.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{DbSchemaFilterPattern: &lab})
	_, rows = fetch(ctx, info, err)
	check(reflect.DeepEqual(rows, []string{"deltaplane,lab"}), "schemas %v", rows)
	info, err = client.GetTables(ctx, &flightsql.GetTablesOpts{DbSchemaFilterPattern: &lab, TableTypes: []string{"VIEW"}})
	_, rows = fetch(ctx, info, err)
	check(reflect.DeepEqual(rows, []string{"deltaplane,lab,seen,VIEW"}), "views %v", rows)
	kinds := "kinds"
	check(reflect.DeepEqual(names(tableSchema(ctx, &flightsql.GetTablesOpts{DbSchemaFilterPattern: &lab, TableNameFilterPattern: &kinds, IncludeSchema: true}).Fields()), columns), "columns")
}

// tableSchema is the schema in the answer's first row.
func tableSchema(ctx context.Context, options *flightsql.GetTablesOpts) *arrow.Schema {
	info := must(client.GetTables(ctx, options))
	reader := must(client.DoGet(ctx, info.Endpoint[0].Ticket))
	defer reader.Release()
	check(reader.Next(), "a table")
	return must(flight.DeserializeSchema(reader.RecordBatch().Column(4).(*array.Binary).Value(0), memory.DefaultAllocator))
}

func types(ctx context.Context) {
	rows := query(ctx, "SELECT * FROM lab.kinds ORDER BY id")
	full := "1,-7,300,70000,true,0.5,0.25,ä'b,AP8=,2026-01-02,2026-01-02T03:04:05.678901Z,2026-01-02T03:04:05.678901,1234567890123456.7891"
	nulls := "2" + strings.Repeat(","+array.NullValueStr, 12)
	check(len(rows) == 2 && rows[0] == full && rows[1] == nulls, "%v", rows)
}

func parameters(ctx context.Context) {
	statement := must(client.Prepare(ctx, "SELECT id FROM lab.kinds WHERE id = ? AND t <> ?"))
	defer statement.Close(ctx)
	check(statement.ParameterSchema().NumFields() == 2, "two parameters")
	values := pairs(2)
	statement.SetParameters(values.NewSlice(1, 2))
	info, err := statement.Execute(ctx)
	_, rows := fetch(ctx, info, err)
	check(reflect.DeepEqual(rows, []string{"1"}), "%v", rows)
}

func changes(ctx context.Context) {
	update(ctx, "CREATE TABLE {}.c (a BIGINT, b STRING)")
	check(update(ctx, "INSERT INTO {}.c VALUES (1, 'x'), (2, 'y'), (3, 'z')") == 3, "insert")
	check(update(ctx, "UPDATE {}.c SET b = 'w' WHERE a > 1") == 2, "update")
	check(update(ctx, "DELETE FROM {}.c WHERE a = 1") == 1, "delete")
	rows := query(ctx, "SELECT * FROM "+schema+".c ORDER BY a")
	check(reflect.DeepEqual(rows, []string{"2,w", "3,w"}), "%v", rows)
}

func manyRows(ctx context.Context) {
	update(ctx, "CREATE TABLE {}.r (a BIGINT, b STRING)")
	statement := must(client.Prepare(ctx, "INSERT INTO "+schema+".r VALUES (?, ?)"))
	defer statement.Close(ctx)
	statement.SetParameters(pairs(1000))
	check(must(statement.ExecuteUpdate(ctx)) == 1000, "rows")
	check(query(ctx, "SELECT count(*) FROM "+schema+".r")[0] == "1000", "what is there")
}

func ingest(ctx context.Context) {
	ingest := func(create flightsql.TableDefinitionOptionsTableNotExistOption) int64 {
		rows := pairs(1000)
		reader := must(array.NewRecordReader(rows.Schema(), []arrow.RecordBatch{rows}))
		return must(client.ExecuteIngest(ctx, reader, &flightsql.ExecuteIngestOpts{
			TableDefinitionOptions: &flightsql.TableDefinitionOptions{IfNotExist: create, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionAppend},
			Table:                  "i", Schema: &schema,
		}))
	}
	check(ingest(flightsql.TableDefinitionOptionsTableNotExistOptionCreate) == 1000, "created")
	check(ingest(flightsql.TableDefinitionOptionsTableNotExistOptionFail) == 1000, "appended")
	check(query(ctx, "SELECT count(*) FROM "+schema+".i")[0] == "2000", "what is there")
}

func transactions(ctx context.Context) {
	update(ctx, "CREATE TABLE {}.t (a BIGINT)")
	count := "SELECT count(*) FROM " + schema + ".t"
	for _, commit := range []bool{false, true} {
		transaction := must(client.BeginTransaction(ctx))
		check(must(transaction.ExecuteUpdate(ctx, "INSERT INTO "+schema+".t VALUES (1)")) == 1, "insert")
		check(query(ctx, count)[0] == "0", "before the commit")
		if commit {
			check(transaction.Commit(ctx) == nil, "commit")
		} else {
			check(transaction.Rollback(ctx) == nil, "rollback")
		}
	}
	check(query(ctx, count)[0] == "1", "what was committed")
}

func cancel(ctx context.Context) {
	info := must(client.Execute(ctx, "SELECT count(*), 'cancel "+schema+"' AS who FROM generate_series(1, 1000000000000000)"))
	ended := make(chan error)
	go func() {
		reader, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		if err == nil {
			for reader.Next() {
			}
			err = reader.Err()
		}
		ended <- err
	}()
	for len(query(ctx, "SELECT 1 FROM system.queries WHERE state = 'running' AND sql LIKE '%cancel "+schema+"%' AND sql NOT LIKE '%system.queries%'")) == 0 {
		time.Sleep(20 * time.Millisecond)
	}
	result := must(client.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info}))
	check(result.Status == flight.CancelStatusCancelled, "status %v", result.Status)
	err := <-ended
	check(status.Code(err) == codes.Canceled, "what the reader is told: %v", err)
}

func errorTexts(ctx context.Context) {
	_, err := client.Execute(ctx, "SELECT pressure FROM lab.kinds")
	check(status.Code(err) == codes.InvalidArgument && strings.Contains(err.Error(), "No field named pressure"), "%v", err)
}

func versions(ctx context.Context) {
	rows := query(ctx, "SELECT count(*) AS n FROM lab.grown VERSION AS OF 1")
	check(reflect.DeepEqual(rows, []string{"1"}), "%v", rows)
}

// grafana calls what the plugin calls: its health check, the lists of the query builder, and a time series whose macros are filled in. What is
// configured as metadata goes with each call as a header.
func grafana(ctx context.Context) {
	ctx = metadata.AppendToOutgoingContext(ctx, "deltaplane.timestamp_unit", "ns", "authorization", "Bearer abc")
	check(query(ctx, "select 1")[0] == "1", "health")
	info, err := client.GetSqlInfo(ctx, nil)
	_, rows := fetch(ctx, info, err)
	check(len(rows) >= 91, "%d entries of SqlInfo", len(rows))
	info, err = client.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE", "table"}})
	_, rows = fetch(ctx, info, err)
	check(strings.Contains(strings.Join(rows, "\n"), "deltaplane,lab,kinds,"), "tables %v", rows)
	kinds := "kinds"
	check(reflect.DeepEqual(names(tableSchema(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: &kinds, IncludeSchema: true}).Fields()), columns), "columns")
	info, err = client.Execute(ctx, `SELECT date_bin(interval '60 second', at, timestamp '1970-01-01T00:00:00Z') AS time, t, avg(x) AS level FROM lab.kinds
		WHERE at >= '2026-01-01T00:00:00Z' AND at <= '2026-01-03T00:00:00Z' AND datepart('minute', at) = 4 AND at > cast('2026-01-01T00:00:00Z' as timestamp)
		GROUP BY 1, t ORDER BY time`)
	told, rows := fetch(ctx, info, err)
	check(arrow.TypeEqual(told.Field(0).Type, &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}), "%v", told)
	check(reflect.DeepEqual(rows, []string{"2026-01-02T03:04:00Z,ä'b,0.5"}), "%v", rows)
}

func main() {
	client = must(flightsql.NewClient(os.Args[1], nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer client.Close()
	schema = os.Args[2]
	cell("tree", tree)
	cell("types", types)
	cell("parameters", parameters)
	cell("changes", changes)
	cell("rows", manyRows)
	cell("ingest", ingest)
	cell("transactions", transactions)
	cell("cancel", cancel)
	cell("errors", errorTexts)
	cell("versions", versions)
	cell("grafana", grafana)
}
