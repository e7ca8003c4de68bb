import java.math.BigDecimal;
import java.sql.*;
import java.time.Instant;
import java.time.LocalDateTime;
import java.util.*;

/**
 * One line for each capability of tests/python/clients, by the real driver: "yes tree", "no transactions", or "broken types: why".
 * Arguments: URL, and a schema that no other client has.
 */
public class JdbcTable {
    interface Check { void run() throws Exception; }

    static Connection c;
    static String schema;

    static void check(boolean holds, String what) { if (!holds) throw new AssertionError(what); }

    static void cell(String answer, String capability, Check check) {
        try {
            check.run();
            System.out.println(answer + " " + capability);
        } catch (Throwable e) {
            System.out.println("broken " + capability + ": " + String.valueOf(e).replace('\n', ' ') + " cause " + e.getCause());
        }
    }

    static List<String> list(ResultSet r, String column) throws SQLException {
        List<String> out = new ArrayList<>();
        try (r) { while (r.next()) out.add(r.getString(column)); }
        return out;
    }

    static int update(String sql) throws SQLException { try (Statement s = c.createStatement()) { return s.executeUpdate(sql.replace("{}", schema)); } }

    /** The first column of the rows, between spaces. */
    static String query(String sql) throws SQLException {
        StringBuilder out = new StringBuilder();
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql.replace("{}", schema))) { while (r.next()) out.append(out.isEmpty() ? "" : " ").append(r.getString(1)); }
        return out.toString();
    }

    static void tree() throws Exception {
        DatabaseMetaData m = c.getMetaData();
        check(list(m.getCatalogs(), "TABLE_CAT").equals(List.of("deltaplane")), "catalogs");
        check(list(m.getSchemas(), "TABLE_SCHEM").contains("lab"), "schemas");
        check(list(m.getTables("deltaplane", "lab", "%", new String[] {"TABLE"}), "TABLE_NAME").containsAll(List.of("grown", "kinds")), "tables");
        check(list(m.getTables(null, "lab", "%", new String[] {"VIEW"}), "TABLE_NAME").equals(List.of("seen")), "views");
        check(list(m.getColumns(null, "lab", "kinds", "%"), "COLUMN_NAME").equals(List.of("id", "tiny", "small", "n", "ok", "x", "f", "t", "raw", "day", "at", "local", "price")), "columns");
        check(list(m.getColumns(null, "lab", "kinds", "pr%"), "TYPE_NAME").size() == 1, "a pattern of columns");
    }

    static void types() throws Exception {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT * FROM lab.kinds ORDER BY id")) {
            check(r.next(), "a row");
            check(r.getLong("id") == 1 && r.getByte("tiny") == -7 && r.getShort("small") == 300 && r.getInt("n") == 70000, "whole numbers");
            check(r.getBoolean("ok") && r.getDouble("x") == 0.5 && r.getFloat("f") == 0.25f && r.getString("t").equals("ä'b"), "boolean, floats, text");
            check(Arrays.equals(r.getBytes("raw"), new byte[] {0, (byte) 0xff}), "binary");
            check(r.getDate("day").toString().equals("2026-01-02"), "date " + r.getDate("day"));
            check(r.getTimestamp("at").toInstant().equals(Instant.parse("2026-01-02T03:04:05.678901Z")), "instant " + r.getTimestamp("at").toInstant());
            check(r.getTimestamp("local").toLocalDateTime().equals(LocalDateTime.parse("2026-01-02T03:04:05.678901")), "time without a zone " + r.getTimestamp("local"));
            check(r.getBigDecimal("price").equals(new BigDecimal("1234567890123456.7891")), "decimal " + r.getBigDecimal("price"));
            check(r.next() && r.getLong("id") == 2, "a second row");
            // getObject() of a time with a zone is not there in 18.3, not even for a null.
            for (int i = 2; i <= 13; i++) check((i == 11 ? r.getTimestamp(i) : r.getObject(i)) == null && r.wasNull(), "null in column " + i);
            check(!r.next(), "the end");
        }
    }

    static void parameters() throws Exception {
        String sql = "SELECT id FROM lab.kinds WHERE t = ? AND id = ? AND x = ? AND ok = ? AND day = ? AND at > ? AND price > ? LIMIT ?";
        try (PreparedStatement p = c.prepareStatement(sql)) {
            p.setString(1, "ä'b"); p.setLong(2, 1); p.setDouble(3, 0.5); p.setBoolean(4, true); p.setDate(5, java.sql.Date.valueOf("2026-01-02"));
            p.setTimestamp(6, Timestamp.from(Instant.parse("2026-01-02T03:04:05Z"))); p.setBigDecimal(7, new BigDecimal("0.5000")); p.setLong(8, 5);
            try (ResultSet r = p.executeQuery()) { check(r.next() && r.getLong(1) == 1 && !r.next(), "one row"); }
            p.setString(1, "other");
            try (ResultSet r = p.executeQuery()) { check(!r.next(), "no row for another value"); }
        }
    }

    static void changes() throws Exception {
        check(update("CREATE TABLE {}.c (a BIGINT, b STRING)") == 0, "create");
        check(update("INSERT INTO {}.c VALUES (1, 'x'), (2, 'y'), (3, 'z')") == 3, "insert");
        check(update("UPDATE {}.c SET b = 'w' WHERE a > 1") == 2, "update");
        check(update("DELETE FROM {}.c WHERE a = 1") == 1, "delete");
        check(query("SELECT b FROM {}.c").equals("w w"), "what is left");
    }

    static void rows() throws Exception {
        update("CREATE TABLE {}.r (a BIGINT, b STRING)");
        try (PreparedStatement p = c.prepareStatement("INSERT INTO " + schema + ".r VALUES (?, ?)")) {
            for (int i = 0; i < 1000; i++) { p.setLong(1, i); p.setString(2, "r" + i); p.addBatch(); }
            p.executeBatch();
        }
        check(query("SELECT count(*) FROM {}.r").equals("1000"), "a batch of 1000");
    }

    /** The calls do nothing in the driver. */
    static void noTransactions() throws Exception {
        update("CREATE TABLE {}.t (a BIGINT)");
        c.setAutoCommit(false);
        update("INSERT INTO {}.t VALUES (1)");
        c.rollback();
        check(query("SELECT count(*) FROM {}.t").equals("1"), "rollback takes nothing back");
    }

    static void cancel() throws Exception {
        try (Statement s = c.createStatement()) {
            ResultSet r = s.executeQuery("SELECT value, 'cancel " + schema + "' AS who FROM generate_series(1, 1000000000000000)");
            check(r.next(), "a first row");
            s.cancel();
            try { while (r.next()) { } throw new AssertionError("no end"); } catch (Exception e) { check(String.valueOf(e).toLowerCase().contains("cancel"), "what the caller is told: " + e); }
        }
        String running = "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%cancel " + schema + "%' AND sql NOT LIKE '%system.queries%'";
        for (int i = 0; i < 200 && !query(running).equals("0"); i++) Thread.sleep(50);
        check(query(running).equals("0"), "the query ended");
    }

    /** In a JVM of another zone than UTC the driver shifts Timestamps, read and bound. Texts are right, and so is java.time where the driver has it. */
    static void zones(String url) throws Exception {
        Instant at = Instant.parse("2026-01-02T03:04:05.678901Z");
        TimeZone.setDefault(TimeZone.getTimeZone("America/New_York"));
        try (Connection there = DriverManager.getConnection(url); Statement s = there.createStatement(); ResultSet r = s.executeQuery("SELECT at, local FROM lab.kinds WHERE id = 1")) {
            check(r.next() && r.getString(1).equals("2026-01-02 03:04:05.678901") && r.getString(2).equals("2026-01-02 03:04:05.678901"), "texts " + r.getString(1));
            check(!r.getTimestamp(1).toInstant().equals(at), "getTimestamp is right now: docs/clients.md says that it is not");
            if (!there.getMetaData().getDriverVersion().startsWith("18.2")) check(r.getObject(1, Instant.class).equals(at) && r.getObject(2, LocalDateTime.class).equals(LocalDateTime.parse("2026-01-02T03:04:05.678901")), "java.time");
            try (PreparedStatement p = there.prepareStatement("SELECT count(*) FROM lab.kinds WHERE date_trunc('millisecond', at) = ?")) {
                p.setTimestamp(1, Timestamp.from(Instant.parse("2026-01-02T03:04:05.678Z")));
                try (ResultSet n = p.executeQuery()) { check(n.next() && n.getLong(1) == 0, "setTimestamp is right now: docs/clients.md says that it is not"); }
            }
        }
    }

    static void errors() throws Exception {
        try { query("SELECT pressure FROM lab.kinds"); throw new AssertionError("no error"); }
        catch (SQLException e) { check((e.getMessage() + e.getCause()).contains("No field named pressure"), e.getMessage()); }
    }

    public static void main(String[] a) throws Exception {
        schema = a[1];
        try (Connection connection = DriverManager.getConnection(a[0])) {
            c = connection;
            cell("yes", "tree", JdbcTable::tree);
            cell("yes", "types", JdbcTable::types);
            cell("yes", "parameters", JdbcTable::parameters);
            cell("yes", "changes", JdbcTable::changes);
            cell("yes", "rows", JdbcTable::rows);
            cell("no", "ingest", () -> check(Arrays.stream(Connection.class.getMethods()).noneMatch(m -> m.getName().toLowerCase().contains("ingest")), "JDBC has no such call"));
            cell("no", "transactions", JdbcTable::noTransactions);
            cell("yes", "cancel", JdbcTable::cancel);
            cell("yes", "errors", JdbcTable::errors);
            cell("yes", "versions", () -> check(query("SELECT count(*) AS n FROM lab.grown VERSION AS OF 1").equals("1"), "rows of version 1"));
        }
        cell("yes", "zones", () -> zones(a[0]));
    }
}
