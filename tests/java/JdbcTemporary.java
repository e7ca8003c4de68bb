import java.sql.*;
import java.util.*;

/** Temporary tables over JDBC, by the real driver. Argument: URL. */
public class JdbcTemporary {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
        System.out.println("ok " + what);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(sql); }
    }

    static long one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { check(r.next(), sql); return r.getLong(1); }
    }

    static void fails(Connection c, String sql, String word) {
        try { run(c, sql); throw new AssertionError("no error: " + sql); }
        catch (SQLException e) { check((e.getMessage() + e.getCause()).contains(word), sql + " -> " + e.getMessage()); }
    }

    /** 18.x ends a connection with a session by an error of its own. */
    static void close(Connection c) {
        try { c.close(); } catch (SQLException e) { check(String.valueOf(e.getMessage() + e.getCause()).contains("shutdown"), "close with a session: " + e); }
    }

    public static void main(String[] a) throws Exception {
        Connection one = DriverManager.getConnection(a[0] + "&catalog=deltaplane"), other = DriverManager.getConnection(a[0] + "&catalog=deltaplane");
        run(one, "CREATE TEMP TABLE jt (a INT, b STRING)");
        try (Statement s = one.createStatement()) { check(s.executeUpdate("INSERT INTO jt VALUES (1, 'x'), (2, 'y')") == 2, "counted"); }
        try (PreparedStatement p = one.prepareStatement("INSERT INTO jt VALUES (?, ?)")) {
            for (int i = 10; i < 20; i++) { p.setInt(1, i); p.setString(2, "b" + i); p.addBatch(); }
            p.executeBatch();
        }
        check(one(one, "SELECT count(*) FROM jt") == 12, "its own rows");
        run(one, "CREATE TEMP TABLE of_select AS SELECT * FROM jt WHERE a > 10");
        check(one(one, "SELECT count(*) FROM jt JOIN of_select USING (a)") == 9, "joined");
        fails(other, "SELECT * FROM jt", "NOT_FOUND");
        try (ResultSet r = one.getMetaData().getTables(null, null, "jt", new String[] {"LOCAL TEMPORARY"})) { check(r.next() && r.getString("TABLE_SCHEM").equals("pg_temp"), "listed"); }
        try (ResultSet r = other.getMetaData().getTables(null, null, "jt", null)) { check(!r.next(), "not listed elsewhere"); }
        run(one, "DROP TABLE jt");
        close(one);
        close(other);
        try (Connection none = DriverManager.getConnection(a[0])) { fails(none, "CREATE TEMP TABLE jt (a INT)", "no_session"); }
        System.out.println("all ok");
    }
}
