import java.sql.*;
import java.util.*;

/** Nested columns over JDBC: what getArray and getObject give. Argument: URL. Prints a line a value. */
public class JdbcNested {
    static String shown(Object value) throws Exception {
        if (value instanceof java.sql.Array a) value = a.getArray();
        if (value instanceof Object[] all) {
            List<String> parts = new ArrayList<>();
            for (Object one : all) parts.add(shown(one));
            return parts.toString();
        }
        if (value instanceof java.sql.Struct s) return "struct" + shown(s.getAttributes());
        if (value instanceof Map<?, ?> m) {
            Map<String, String> parts = new TreeMap<>();
            for (Map.Entry<?, ?> e : m.entrySet()) parts.put(String.valueOf(e.getKey()), shown(e.getValue()));
            return parts.toString();
        }
        if (value instanceof List<?> l) return shown(l.toArray());
        return String.valueOf(value);
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection c = DriverManager.getConnection(arguments[0]); Statement s = c.createStatement();
             ResultSet r = s.executeQuery("SELECT readings, gps, labels FROM trips ORDER BY id")) {
            ResultSetMetaData m = r.getMetaData();
            for (int i = 1; i <= 3; i++) System.out.println("type " + m.getColumnName(i) + " " + m.getColumnTypeName(i));
            while (r.next()) {
                java.sql.Array readings = r.getArray(1);
                System.out.println("readings " + (readings == null ? "null" : shown(readings)));
                System.out.println("gps " + shown(r.getObject(2)));
                System.out.println("labels " + shown(r.getObject(3)));
            }
        }
    }
}
