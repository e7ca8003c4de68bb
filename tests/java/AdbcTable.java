import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.LocalDateTime;
import java.util.*;
import org.apache.arrow.adbc.core.*;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlDriver;
import org.apache.arrow.memory.*;
import org.apache.arrow.vector.*;
import org.apache.arrow.vector.ipc.ArrowReader;
import org.apache.arrow.vector.types.pojo.Field;

/**
 * One line for each capability of tests/python/clients, by the ADBC driver for Java: "yes tree", "no transactions", or "broken types: why".
 * Arguments: URI, and a schema that no other client has.
 */
public class AdbcTable {
    interface Check { void run() throws Exception; }

    static BufferAllocator allocator;
    static AdbcConnection c;
    static String schema;

    static void check(boolean holds, String what) { if (!holds) throw new AssertionError(what); }

    static void cell(String answer, String capability, Check check) {
        try {
            check.run();
            System.out.println(answer + " " + capability);
        } catch (Throwable e) {
            System.out.println("broken " + capability + ": " + String.valueOf(e).replace('\n', ' ') + " cause " + e.getCause() + " at " + Arrays.toString(Arrays.copyOf(e.getStackTrace(), 8)));
        }
    }

    /** All values of a result as text, a row in brackets. Nulls are "null". */
    static String read(ArrowReader reader) throws Exception {
        StringBuilder out = new StringBuilder();
        try (reader) {
            while (reader.loadNextBatch()) {
                VectorSchemaRoot root = reader.getVectorSchemaRoot();
                for (int row = 0; row < root.getRowCount(); row++) {
                    List<String> values = new ArrayList<>();
                    for (FieldVector v : root.getFieldVectors()) values.add(v.getObject(row) instanceof byte[] b ? HexFormat.of().formatHex(b) : String.valueOf(v.getObject(row)));
                    out.append(values);
                }
            }
        }
        return out.toString();
    }

    static String query(String sql) throws Exception {
        try (AdbcStatement s = c.createStatement()) {
            s.setSqlQuery(sql);
            return read(s.executeQuery().getReader());
        }
    }

    static long update(String sql) throws Exception {
        try (AdbcStatement s = c.createStatement()) {
            s.setSqlQuery(sql.replace("{}", schema));
            return s.executeUpdate().getAffectedRows();
        }
    }

    /** `n` rows of two columns: a BIGINT and a STRING. */
    static VectorSchemaRoot pairs(int n) {
        BigIntVector a = new BigIntVector("a", allocator);
        VarCharVector b = new VarCharVector("b", allocator);
        for (int i = 0; i < n; i++) { a.setSafe(i, i); b.setSafe(i, ("r" + i).getBytes(StandardCharsets.UTF_8)); }
        VectorSchemaRoot root = VectorSchemaRoot.of(a, b);
        root.setRowCount(n);
        return root;
    }

    /** The driver fails at the depth ALL, and has no getTableSchema: the columns are those of a query. */
    static void tree() throws Exception {
        String tree = read(c.getObjects(AdbcConnection.GetObjectsDepth.TABLES, null, "lab", null, null, null));
        check(tree.startsWith("[deltaplane"), "a catalog");
        for (String name : "lab kinds grown seen VIEW".split(" ")) check(tree.contains("\"" + name + "\""), name + " in " + tree);
        try (AdbcStatement s = c.createStatement()) {
            s.setSqlQuery("SELECT * FROM lab.kinds");
            check(s.executeSchema().getFields().stream().map(Field::getName).toList().equals(List.of("id", "tiny", "small", "n", "ok", "x", "f", "t", "raw", "day", "at", "local", "price")), "columns");
        }
    }

    static void types() throws Exception {
        String got = query("SELECT * FROM lab.kinds ORDER BY id");
        long micros = 1767323045678901L;
        check(got.equals("[1, -7, 300, 70000, true, 0.5, 0.25, ä'b, 00ff, 20455, " + micros + ", " + LocalDateTime.parse("2026-01-02T03:04:05.678901") + ", 1234567890123456.7891]"
            + "[2" + ", null".repeat(12) + "]"), got);
    }

    static void parameters() throws Exception {
        try (AdbcStatement s = c.createStatement(); BigIntVector a = new BigIntVector("1", allocator); VarCharVector b = new VarCharVector("2", allocator)) {
            s.setSqlQuery("SELECT id FROM lab.kinds WHERE id = ? AND t = ?");
            s.prepare();
            check(s.getParameterSchema().getFields().size() == 2, "two parameters");
            a.setSafe(0, 1); a.setValueCount(1);
            b.setSafe(0, "ä'b".getBytes(StandardCharsets.UTF_8)); b.setValueCount(1);
            try (VectorSchemaRoot root = VectorSchemaRoot.of(a, b)) {
                root.setRowCount(1);
                s.bind(root);
                check(read(s.executeQuery().getReader()).equals("[1]"), "the row");
            }
        }
    }

    static void changes() throws Exception {
        update("CREATE TABLE {}.c (a BIGINT, b STRING)");
        check(update("INSERT INTO {}.c VALUES (1, 'x'), (2, 'y'), (3, 'z')") == 3, "insert");
        check(update("UPDATE {}.c SET b = 'w' WHERE a > 1") == 2, "update");
        check(update("DELETE FROM {}.c WHERE a = 1") == 1, "delete");
        check(query("SELECT * FROM " + schema + ".c ORDER BY a").equals("[2, w][3, w]"), "what is left");
    }

    static void rows() throws Exception {
        update("CREATE TABLE {}.r (a BIGINT, b STRING)");
        try (AdbcStatement s = c.createStatement(); VectorSchemaRoot root = pairs(1000)) {
            s.setSqlQuery("INSERT INTO " + schema + ".r VALUES (?, ?)");
            s.prepare();
            s.bind(root);
            check(s.executeUpdate().getAffectedRows() == 1000, "rows");
        }
        check(query("SELECT count(*), max(b) FROM " + schema + ".r").equals("[1000, r999]"), "what is there");
    }

    /** The driver writes CREATE TABLE and INSERT itself. It has no option for the schema: the table is in the default one. */
    static void ingest() throws Exception {
        String table = "adbc_java_" + schema;
        for (BulkIngestMode mode : new BulkIngestMode[] {BulkIngestMode.CREATE, BulkIngestMode.APPEND}) {
            try (VectorSchemaRoot root = pairs(1000); AdbcStatement s = c.bulkIngest(table, mode)) {
                s.bind(root);
                check(s.executeUpdate().getAffectedRows() == 1000, "rows");
            }
        }
        check(query("SELECT count(*), max(b) FROM public." + table).equals("[2000, r999]"), "what is there");
        try (VectorSchemaRoot root = pairs(1); AdbcStatement s = c.bulkIngest(table, BulkIngestMode.CREATE)) {
            s.bind(root);
            s.executeUpdate();
            throw new AssertionError("created twice");
        } catch (AdbcException e) { check(e.getStatus() == AdbcStatusCode.ALREADY_EXISTS, "status " + e.getStatus() + " " + e); }
    }

    static void noTransactions() throws Exception {
        try { c.setAutoCommit(false); throw new AssertionError("transactions are there now"); }
        catch (AdbcException e) { check(e.getStatus() == AdbcStatusCode.NOT_IMPLEMENTED, "status " + e.getStatus()); }
    }

    static void noCancel() throws Exception {
        try (AdbcStatement s = c.createStatement()) { s.cancel(); throw new AssertionError("cancel is there now"); }
        catch (AdbcException e) { check(e.getStatus() == AdbcStatusCode.NOT_IMPLEMENTED, "status " + e.getStatus()); }
    }

    static void errors() throws Exception {
        try { query("SELECT pressure FROM lab.kinds"); throw new AssertionError("no error"); }
        catch (AdbcException e) { check(e.getMessage().contains("No field named pressure") && e.getStatus() == AdbcStatusCode.INVALID_ARGUMENT, e.getStatus() + " " + e.getMessage()); }
    }

    public static void main(String[] a) throws Exception {
        schema = a[1];
        Map<String, Object> options = new HashMap<>();
        AdbcDriver.PARAM_URI.set(options, a[0]);
        try (BufferAllocator root = new RootAllocator(); AdbcDatabase database = new FlightSqlDriver(root).open(options); AdbcConnection connection = database.connect()) {
            allocator = root;
            c = connection;
            cell("yes", "tree", AdbcTable::tree);
            cell("yes", "types", AdbcTable::types);
            cell("yes", "parameters", AdbcTable::parameters);
            cell("yes", "changes", AdbcTable::changes);
            cell("yes", "rows", AdbcTable::rows);
            cell("yes", "ingest", AdbcTable::ingest);
            cell("no", "transactions", AdbcTable::noTransactions);
            cell("no", "cancel", AdbcTable::noCancel);
            cell("yes", "errors", AdbcTable::errors);
            cell("yes", "versions", () -> check(query("SELECT count(*) AS n FROM lab.grown VERSION AS OF 1").equals("[1]"), "rows of version 1"));
        }
    }
}
