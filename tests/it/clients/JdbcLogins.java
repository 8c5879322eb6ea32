import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Properties;

/** Logs in to each project in turn, with pgjdbc; a line each of what came of it. */
class JdbcLogins {
    public static void main(String[] arguments) {
        String port = arguments[0], ca = arguments[1], password = arguments[2];
        for (String project : Arrays.asList(arguments).subList(3, arguments.length)) {
            System.out.println(login(port, Path.of(ca), password, project));
        }
    }

    private static String login(String port, Path ca, String password, String project) {
        Properties properties = new Properties();
        properties.setProperty("user", "alice");
        properties.setProperty("password", password);
        properties.setProperty("sslmode", "verify-ca");
        properties.setProperty("sslrootcert", ca.toString());
        properties.setProperty("connectTimeout", "30");
        properties.setProperty("socketTimeout", "60");
        // An address is no server_name, so the StartupMessage has to name the project.
        properties.setProperty("options", "-c portcullis.project=" + project);
        String url = "jdbc:postgresql://127.0.0.1:" + port + "/app";
        try (Connection db = DriverManager.getConnection(url, properties);
             Statement statement = db.createStatement();
             ResultSet rows = statement.executeQuery("select current_user")) {
            rows.next();
            String user = rows.getString(1);
            return user.equals("alice") ? "ok" : "logged in as " + user;
        } catch (SQLException error) {
            return error.getMessage().replace('\n', ' ');
        }
    }
}
