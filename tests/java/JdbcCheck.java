import java.sql.*;
import java.util.*;

/** What a SQL tool does over JDBC, by the real driver. Arguments: URL, rows to fetch. */
public class JdbcCheck {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
        System.out.println("ok " + what);
    }

    static void fails(Connection c, String sql, String code, String word) throws Exception {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            while (r.next()) { }
            throw new AssertionError("no error: " + sql);
        } catch (SQLException e) {
            String text = String.valueOf(e.getMessage()) + e.getCause();
            check(text.contains(code) && text.toLowerCase().contains(word.toLowerCase()), sql + " -> " + code + ": " + text);
        }
    }

    static long count(Connection c, String sql) throws Exception {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { check(r.next(), sql); return r.getLong(1); }
    }

    /** Bound updates: executeUpdate, a batch, and execute(), which 18.x sends as a query. Each runs once. */
    static void updates(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.executeUpdate("DROP TABLE IF EXISTS jdbc_bound;");
            s.executeUpdate("CREATE TABLE jdbc_bound (i BIGINT, n INT, d DOUBLE, t STRING, b BOOLEAN, day DATE, at TIMESTAMP, p DECIMAL(10,2)) ;");
            check(s.executeUpdate("INSERT INTO jdbc_bound (i) VALUES (1), (2);") == 2, "plain insert counts its rows");
        }
        String sql = "INSERT INTO jdbc_bound VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        try (PreparedStatement p = c.prepareStatement(sql)) {
            for (int i = 10; i < 13; i++) {
                p.setLong(1, i); p.setInt(2, i); p.setDouble(3, 0.5); p.setString(4, "t" + i); p.setBoolean(5, true);
                p.setDate(6, java.sql.Date.valueOf("2026-01-02")); p.setTimestamp(7, new Timestamp(1767322984000L)); p.setBigDecimal(8, new java.math.BigDecimal("12.34"));
                p.addBatch();
            }
            long total = 0;
            for (long n : p.executeLargeBatch()) total += Math.max(0, n);
            check(count(c, "SELECT count(*) FROM jdbc_bound WHERE i >= 10") == 3, "a batch of three wrote three, counts say " + total);
        }
        try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_bound (i, t) VALUES (?, ?)")) {
            p.setLong(1, 20); p.setString(2, "x");
            check(p.executeUpdate() == 1, "executeUpdate counts its row");
            p.setLong(1, 21); p.setNull(2, Types.VARCHAR);
            p.execute();
            check(count(c, "SELECT count(*) FROM jdbc_bound WHERE i >= 20") == 2, "execute() ran once");
        }
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT day, at, p, t, n FROM jdbc_bound WHERE i = 11")) {
            check(r.next() && r.getDate(1).toString().equals("2026-01-02"), "date");
            check(r.getString(2).startsWith("2026-01-02"), "timestamp " + r.getString(2));
            check(r.getBigDecimal(3).toString().equals("12.34") && r.getString(4).equals("t11") && r.getInt(5) == 11, "decimal, text, int");
        }
        try (Statement s = c.createStatement()) { s.executeUpdate("DROP TABLE jdbc_bound"); }
    }

    /** What SQL tools ask at the side. */
    static void oddities(Connection c, DatabaseMetaData m) throws Exception {
        check(m.supportsTransactions() && m.supportsBatchUpdates() && m.getSQLKeywords() != null && m.getMaxColumnsInTable() == 0, "SqlInfo is whole");
        check(m.getNumericFunctions().contains("abs") && !m.supportsSavepoints() && !m.isReadOnly(), "functions, no savepoints");
        try (Statement s = c.createStatement()) {
            try (ResultSet r = s.executeQuery("SELECT VERSION();")) { check(r.next() && r.getString(1).length() > 0, "version " + r.getString(1)); }
            try (ResultSet r = s.executeQuery("SELECT reactor_id, ts FROM reactor.raw WHERE false")) { check(r.getMetaData().getColumnCount() >= 2 && !r.next(), "an empty result keeps its columns"); }
            try (ResultSet r = s.executeQuery("SELECT ts AS at, \"AT\", \"AT\" FROM reactor.raw")) {
                ResultSetMetaData m2 = r.getMetaData();
                check(m2.getColumnName(2).equals("AT") && m2.getColumnName(3).equals("AT") && m2.getColumnCount() == 3, "two columns of one name");
                check(m2.getTableName(1).equals("raw") && m2.getSchemaName(1).equals("reactor") && m2.getCatalogName(1).equals("deltaplane"), "where a column is from");
                check(m2.getPrecision(1) == 26 && m2.getScale(1) == 6 && m2.getPrecision(2) == 15, "precision and scale " + m2.getPrecision(1) + " " + m2.getScale(1));
            }
            try (ResultSet r = s.executeQuery("SELECT NULL AS n, 1 AS one")) { check(r.next() && r.getObject(1) == null && r.getInt(2) == 1, "a column of type null"); }
            try (ResultSet r = s.executeQuery("SELECT repeat('x', 6000000) AS big")) { check(r.next() && r.getString(1).length() == 6000000, "one row of 6 MB"); }
        }
        // The driver stops reading and cancels: the next statement works, and nothing is left running.
        try (Statement s = c.createStatement()) {
            ResultSet r = s.executeQuery("SELECT a.value FROM generate_series(1, 100000000) a");
            check(r.next(), "first row of many");
            s.cancel();
        } catch (SQLException e) { System.out.println("cancel: " + e.getMessage()); }
        for (int i = 0; i < 100 && count(c, "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%generate_series%' AND sql NOT LIKE '%system.queries%'") > 0; i++) Thread.sleep(50);
        check(count(c, "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%generate_series%' AND sql NOT LIKE '%system.queries%'") == 0, "a cancelled query ends");
    }

    public static void main(String[] a) throws Exception {
        try (Connection c = DriverManager.getConnection(a[0])) {
            DatabaseMetaData m = c.getMetaData();
            check("\"".equals(m.getIdentifierQuoteString()), "identifier quote");
            Set<String> schemas = new TreeSet<>();
            try (ResultSet r = m.getSchemas()) { while (r.next()) schemas.add(r.getString("TABLE_SCHEM")); }
            check(schemas.contains("reactor"), "schemas " + schemas);
            Set<String> tables = new TreeSet<>();
            try (ResultSet r = m.getTables(null, "reactor", "%", null)) { while (r.next()) tables.add(r.getString("TABLE_NAME")); }
            check(tables.contains("raw") && tables.contains("raw_quarantine"), "tables " + tables);
            List<String> columns = new ArrayList<>();
            try (ResultSet r = m.getColumns(null, "reactor", "raw", "%")) { while (r.next()) columns.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME")); }
            check(columns.get(2).startsWith("AT "), "columns " + columns);
            try (ResultSet r = m.getPrimaryKeys(null, "reactor", "raw")) { check(r.next() && r.getString("TABLE_NAME").equals("raw") && r.getInt("KEY_SEQ") == 1, "primary key"); }
            try (PreparedStatement p = c.prepareStatement("SELECT at, reactor_id FROM reactor.raw WHERE AT > ? AND reactor_id = ? ORDER BY at LIMIT ?")) {
                p.setDouble(1, 10.0);
                p.setString(2, "R1");
                p.setLong(3, 3);
                int n = 0;
                try (ResultSet r = p.executeQuery()) { while (r.next()) { n++; check(r.getDouble(1) > 10.0, "row " + r.getDouble("AT")); } }
                check(n == 3, "prepared query with parameters");
            }
            try (Statement s = c.createStatement()) {
                check(s.executeUpdate("CREATE TABLE jdbc_made (a BIGINT, s STRING)") == 0, "create table");
                try (ResultSet r = s.executeQuery("SELECT count(*) FROM jdbc_made")) { check(r.next() && r.getLong(1) == 0, "new table is empty"); }
                check(s.executeUpdate("DROP TABLE jdbc_made") == 0, "drop table");
            }
            updates(c);
            oddities(c, m);
            fails(c, "SELEC 1", "INVALID_ARGUMENT", "Column");
            fails(c, "SELECT * FROM reactor.rawr", "NOT_FOUND", "reactor.raw");
            fails(c, "SELECT pressure FROM reactor.raw", "INVALID_ARGUMENT", "pressure");
            long rows = 0, wanted = Long.parseLong(a[1]);
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT ts, AT, PE FROM reactor.raw")) { while (r.next()) rows++; }
            check(rows == wanted, "fetched " + rows + " rows");
        }
        // A catalogue in the URL is a session option; 18.x ends its connection with an error of its own then.
        try {
            try (Connection c = DriverManager.getConnection(a[0] + "&catalog=deltaplane")) { check(count(c, "SELECT count(*) FROM reactor.raw") == Long.parseLong(a[1]), "catalog= in the URL"); }
        } catch (SQLException e) { check(String.valueOf(e.getMessage() + e.getCause()).contains("shutdown"), "close with a session: " + e); }
        System.out.println("all ok");
    }
}
