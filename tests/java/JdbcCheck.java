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
            try (ResultSet r = m.getPrimaryKeys(null, "reactor", "raw")) { check(r.next(), "primary key"); }
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
            fails(c, "SELEC 1", "INVALID_ARGUMENT", "Column");
            fails(c, "SELECT * FROM reactor.rawr", "NOT_FOUND", "reactor.raw");
            fails(c, "SELECT pressure FROM reactor.raw", "INVALID_ARGUMENT", "pressure");
            long rows = 0, wanted = Long.parseLong(a[1]);
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT ts, AT, PE FROM reactor.raw")) { while (r.next()) rows++; }
            check(rows == wanted, "fetched " + rows + " rows");
        }
        System.out.println("all ok");
    }
}
