import java.sql.*;
import java.time.Instant;

/** Bound parameters of every kind of statement, by the real driver. Argument: URL. */
public class JdbcParameters {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
        System.out.println("ok " + what);
    }

    static void bind(PreparedStatement p, Object... values) throws SQLException {
        for (int i = 0; i < values.length; i++) {
            Object v = values[i];
            if (v instanceof Timestamp t) p.setTimestamp(i + 1, t);
            else if (v instanceof Date d) p.setDate(i + 1, d);
            else if (v instanceof Time t) p.setTime(i + 1, t);
            else if (v instanceof Integer n) p.setInt(i + 1, n);
            else if (v instanceof Long n) p.setLong(i + 1, n);
            else if (v instanceof Double n) p.setDouble(i + 1, n);
            else if (v instanceof Boolean b) p.setBoolean(i + 1, b);
            else if (v == null) p.setNull(i + 1, Types.OTHER);
            else p.setString(i + 1, (String) v);
        }
    }

    /** The first column of the rows, between spaces. */
    static String query(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement p = c.prepareStatement(sql)) {
            bind(p, values);
            StringBuilder out = new StringBuilder();
            try (ResultSet r = p.executeQuery()) { while (r.next()) out.append(out.isEmpty() ? "" : " ").append(r.getString(1)); }
            return out.toString();
        }
    }

    static void gives(Connection c, String expected, String sql, Object... values) throws SQLException {
        String got = query(c, sql, values);
        check(got.equals(expected), sql + ": " + got + ", expected " + expected);
    }

    static int update(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement p = c.prepareStatement(sql)) { bind(p, values); return p.executeUpdate(); }
    }

    static Timestamp at(String instant) { return Timestamp.from(Instant.parse(instant)); }

    public static void main(String[] a) throws Exception {
        try (Connection c = DriverManager.getConnection(a[0]); Statement s = c.createStatement()) {
            s.executeUpdate("CREATE TABLE times (id BIGINT, n INT, f FLOAT, v DOUBLE, t STRING, at TIMESTAMP, local TIMESTAMP_NTZ, day DATE)");
            for (int i = 1; i <= 3; i++) {
                check(update(c, "INSERT INTO times VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (long) i, i, 0.5, i + 0.5, "t" + i, at("2026-11-0" + i + "T12:00:00Z"),
                        at("2026-11-0" + i + "T12:00:00Z"), Date.valueOf("2026-11-0" + i)) == 1, "insert " + i);
            }
            String ids = "SELECT id FROM times WHERE ", order = " ORDER BY id";
            Timestamp second = at("2026-11-02T12:00:00Z"), december = at("2026-12-31T00:00:00Z");
            gives(c, "3", ids + "at > ?" + order, second);
            gives(c, "1", ids + "at < ?" + order, second);
            gives(c, "2", ids + "at = ?" + order, second);
            gives(c, "2 3", ids + "at BETWEEN ? AND ?" + order, second, december);
            gives(c, "1 2", ids + "at <= coalesce(?, now())" + order, second);
            gives(c, "2", ids + "date_trunc('day', at) = ?" + order, at("2026-11-02T00:00:00Z"));
            gives(c, "2 3", ids + "local >= ?" + order, second);
            gives(c, "2", ids + "day = ?" + order, Date.valueOf("2026-11-02"));
            gives(c, "1 2", ids + "day IN (?, ?)" + order, Date.valueOf("2026-11-02"), Date.valueOf("2026-11-01"));
            gives(c, "true", "SELECT TIME '12:30:00' > ?", Time.valueOf("12:00:00"));
            // The driver cuts a number down to the type that is declared.
            gives(c, "", ids + "n = ?" + order, 4294967297L);
            gives(c, "1 2 3", ids + "f = ?" + order, 0.5);
            gives(c, "", ids + "f = ?" + order, 0.5000000001);
            gives(c, "0.5 1.0 1.5", "SELECT id * CAST(? AS DOUBLE) FROM times" + order, "0.5");
            gives(c, "2 3", "SELECT id FROM times ORDER BY id OFFSET ? LIMIT ?", 1, 2);
            gives(c, "2 3", "SELECT id FROM times ORDER BY id LIMIT ?, ?", 1, 2);
            gives(c, "b", "SELECT coalesce(?, ?)", null, "b");
            gives(c, "3", "SELECT count(*) FROM generate_series(?, ?)", 1, 3);

            check(update(c, "UPDATE times SET v = ? WHERE id = ?", 9.5, 1L) == 1, "a double");
            check(update(c, "UPDATE times SET t = ?, n = ? WHERE id = ?", "z", 77, 1L) == 1, "a text and a number");
            check(update(c, "UPDATE times SET f = ? WHERE id = ?", 1.5, 1L) == 1, "a float");
            check(update(c, "UPDATE times SET at = ?, day = ? WHERE at < ?", december, Date.valueOf("2026-12-31"), second) == 1, "times");
            check(update(c, "UPDATE times SET t = ? WHERE id = ?", null, 2L) == 1, "null");
            gives(c, "9.5", "SELECT v FROM times WHERE id = 1 AND t = 'z' AND n = 77 AND f = 1.5");
            gives(c, "1", "SELECT count(*) FROM times WHERE at = TIMESTAMP '2026-12-31T00:00:00Z' AND day = DATE '2026-12-31'");
            gives(c, "2", ids + "t IS NULL");
            check(update(c, "DELETE FROM times WHERE at > ?", at("2027-01-01T00:00:00Z")) == 0, "a delete of later times deletes nothing");
            check(update(c, "DELETE FROM times WHERE at >= ?", december) == 1, "a delete");
            check(update(c, "MERGE INTO times t USING (SELECT CAST(? AS BIGINT) AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET at = ?", "3", december) == 1, "a merge");
            gives(c, "3", ids + "at = ?", december);

            try (PreparedStatement p = c.prepareStatement("UPDATE times SET v = v + ? WHERE id = ?")) {
                for (long id : new long[] {2, 3, 3, 9}) { bind(p, 1.0, id); p.addBatch(); }
                p.executeBatch();
            }
            gives(c, "3.5 5.5", "SELECT v FROM times" + order);
            try (PreparedStatement p = c.prepareStatement(ids + "id >= ?" + order)) {
                for (long from : new long[] {3, 2, 9}) {
                    bind(p, from);
                    int n = 0;
                    try (ResultSet r = p.executeQuery()) { while (r.next()) n++; }
                    check(n == (from == 3 ? 1 : from == 2 ? 2 : 0), "bound again from " + from);
                }
            }
        }
        System.out.println("all ok");
    }
}
