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
        Properties all = new Properties();
        all.setProperty("user", "alice");
        all.setProperty("sslrootcert", arguments[1]);
        all.setProperty("sslcert", arguments[2]);
        all.setProperty("sslkey", arguments[3]);
        all.setProperty("password", arguments[4]);
        for (String project : Arrays.asList(arguments).subList(5, arguments.length)) {
            System.out.println(login(arguments[0], all, project));
        }
    }

    private static String login(String port, Properties all, String project) {
        Properties properties = new Properties(all);
        properties.setProperty("sslmode", "verify-ca");
        properties.setProperty("connectTimeout", "30");
        properties.setProperty("socketTimeout", "60");
        // An address is no server_name, so the StartupMessage has to name the project.
        properties.setProperty("options", "-c portcullis.project=" + project);
        String database = project.endsWith("-certificate") ? "certified" : "app";
        String url = "jdbc:postgresql://127.0.0.1:" + port + "/" + database;
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
