import java.sql.*;

/** Row counts of statements that change rows, by the real driver. Argument: URL of a server with 10 rows in reactor.raw. */
public class JdbcDml {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
        System.out.println("ok " + what);
    }

    public static void main(String[] a) throws Exception {
        try (Connection c = DriverManager.getConnection(a[0]); Statement s = c.createStatement()) {
            check(s.executeUpdate("UPDATE reactor.raw SET AT = 21") == 10, "update");
            check(s.executeUpdate("DELETE FROM reactor.raw WHERE AT = 99") == 0, "delete of nothing");
            check(s.executeUpdate("MERGE INTO reactor.raw t USING (VALUES (21.0)) AS s (at) ON t.AT = s.at WHEN MATCHED THEN UPDATE SET AT = 22") == 10, "merge");
            try (PreparedStatement p = c.prepareStatement("DELETE FROM reactor.raw WHERE AT = 22")) { check(p.executeUpdate() == 10, "prepared delete"); }
            try (ResultSet r = s.executeQuery("SELECT count(*) FROM reactor.raw")) { check(r.next() && r.getLong(1) == 0, "empty"); }
            try (ResultSet r = s.executeQuery("DESCRIBE HISTORY reactor.raw LIMIT 1")) { check(r.next() && "DELETE".equals(r.getString("operation")), "history"); }
        }
    }
}
