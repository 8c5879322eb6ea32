use super::*;

fn name(text: &str) -> ProjectName {
    text.parse().unwrap()
}

/// The value of one series, as Prometheus reads it.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let text = metrics.render(SystemTime::UNIX_EPOCH);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.to_owned())
}

fn shown(metrics: &Metrics, series: &str) -> String {
    value(metrics, series).unwrap_or_else(|| panic!("no series {series}"))
}

/// Says that the certificate of acme ends so many seconds into the epoch.
fn expires(metrics: &Metrics, seconds: u64) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    metrics.certificates_expire(HashMap::from([(name("acme"), at)]));
}

/// Metrics that everything has happened to once.
fn busy() -> (Metrics, Arc<ProjectMetrics>) {
    let metrics = Metrics::new();
    let time = Duration::from_millis(2);
    metrics.accepted();
    metrics.refused(Reason::NoProject);
    metrics.handshake_took(time);
    metrics.login_took(time);
    metrics.backend_connect_took(time);
    metrics.cancelled(CancelResult::Forwarded);
    metrics.reloaded(true);
    let project = metrics.project(&name("acme"));
    project.refused(Reason::AddressDenied);
    project.client_certificate(CertificateResult::Accepted);
    project.observed();
    drop(project.session(Arc::default()));
    expires(&metrics, 60);
    (metrics, project)
}

#[test]
fn every_series_is_exported_with_its_help_and_nothing_else_is() {
    let (metrics, _project) = busy();
    let text = metrics.render(SystemTime::UNIX_EPOCH);
    let mut exported: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "))
        .collect();
    let mut listed: Vec<_> = SERIES
        .iter()
        .map(|series| format!("{} {}", series.name, series.help))
        .collect();
    exported.sort_unstable();
    listed.sort_unstable();
    assert_eq!(exported, listed);
}

#[test]
fn names_keep_to_prometheus_conventions() {
    let (metrics, _project) = busy();
    let text = metrics.render(SystemTime::UNIX_EPOCH);
    let mut seen = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(name.starts_with("portcullis_"), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{name} is a {kind}"
        );
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
        seen += 1;
    }
    assert_eq!(seen, SERIES.len());
}

#[test]
fn a_session_is_counted_while_it_is_open() {
    let metrics = Metrics::new();
    let project = metrics.project(&name("acme"));
    let session = project.session(Arc::default());
    assert_eq!(
        shown(&metrics, "portcullis_sessions{project=\"acme\"}"),
        "1"
    );
    drop(session);
    assert_eq!(
        shown(&metrics, "portcullis_sessions{project=\"acme\"}"),
        "0"
    );
    assert_eq!(
        shown(&metrics, "portcullis_sessions_total{project=\"acme\"}"),
        "1"
    );
}

/// What is exported of acme's bytes: to its backend, and to its clients.
fn bytes(metrics: &Metrics) -> (u64, u64) {
    let of = |direction: &str| {
        let series =
            format!("portcullis_bytes_total{{direction=\"{direction}\",project=\"acme\"}}");
        shown(metrics, &series).parse().unwrap()
    };
    (of("to_backend"), of("to_client"))
}

#[test]
fn bytes_are_counted_while_their_session_is_open() {
    let metrics = Metrics::new();
    let control = Arc::<Control>::default();
    let session = metrics.project(&name("acme")).session(Arc::clone(&control));
    control.count_to_backend(100);
    control.count_to_client(2_000_000);
    assert_eq!(bytes(&metrics), (100, 2_000_000));
    assert_eq!(bytes(&metrics), (100, 2_000_000));
    control.count_to_backend(1);
    let _handle = metrics.project(&name("acme"));
    drop(session);
    assert_eq!(bytes(&metrics), (101, 2_000_000));
    assert_eq!(bytes(&metrics), (101, 2_000_000));
}

#[test]
fn each_byte_is_counted_once_however_many_scrapes_there_are_at_once() {
    const SESSIONS: usize = 50;
    const ROUNDS: usize = 100;
    let metrics = Metrics::new();
    let project = metrics.project(&name("acme"));
    let relay = || {
        for _ in 0..SESSIONS {
            let control = Arc::<Control>::default();
            let _open = project.session(Arc::clone(&control));
            for _ in 0..ROUNDS {
                control.count_to_backend(3);
                control.count_to_client(7);
            }
        }
    };
    let scrape = || {
        let mut before = (0, 0);
        for _ in 0..SESSIONS {
            let now = bytes(&metrics);
            assert!(before.0 <= now.0 && before.1 <= now.1, "{before:?} {now:?}");
            before = now;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(relay);
            scope.spawn(scrape);
        }
    });
    let rounds = 2 * (SESSIONS * ROUNDS) as u64;
    assert_eq!(bytes(&metrics), (3 * rounds, 7 * rounds));
}

#[test]
fn refusals_are_counted_by_project_where_it_is_known() {
    let (metrics, project) = busy();
    project.refused(Reason::AddressDenied);
    let refusals = |project: &str, reason: &str| {
        shown(
            &metrics,
            &format!("portcullis_refusals_total{{project=\"{project}\",reason=\"{reason}\"}}"),
        )
    };
    assert_eq!(refusals("acme", "address_denied"), "2");
    assert_eq!(refusals("", "no_project"), "1");
}

#[test]
fn a_projects_series_go_with_the_last_handle() {
    let (metrics, project) = busy();
    let session = project.session(Arc::default());
    drop(project);
    assert!(
        metrics
            .render(SystemTime::UNIX_EPOCH)
            .contains("project=\"acme\"")
    );
    drop(session);
    assert!(
        !metrics
            .render(SystemTime::UNIX_EPOCH)
            .contains("project=\"acme\"")
    );
}

#[test]
fn a_projects_handles_survive_a_reload() {
    let metrics = Metrics::new();
    let old = metrics.project(&name("acme"));
    let session = old.session(Arc::default());
    let new = metrics.project(&name("acme"));
    assert!(Arc::ptr_eq(&old, &new));
    drop(old);
    drop(session);
    assert_eq!(
        shown(&metrics, "portcullis_sessions_total{project=\"acme\"}"),
        "1"
    );
}

#[test]
fn projects_coming_and_going_on_many_threads_leave_no_series_behind() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _session = metrics.project(&name("acme")).session(Arc::default());
                    let _text = metrics.render(SystemTime::UNIX_EPOCH);
                }
            });
        }
    });
    assert!(!metrics.render(SystemTime::UNIX_EPOCH).contains("acme"));
    let project = metrics.project(&name("acme"));
    assert_eq!(
        shown(&metrics, "portcullis_sessions{project=\"acme\"}"),
        "0"
    );
    drop(project);
}

#[test]
fn a_certificates_expiry_counts_down_to_below_zero() {
    let (metrics, _project) = busy();
    let at = |seconds| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let text = metrics.render(now);
        let prefix = "portcullis_certificate_expiry_seconds{project=\"acme\"} ";
        text.lines()
            .find_map(|line| Some(line.strip_prefix(prefix)?.to_owned()))
            .unwrap()
    };
    assert_eq!(at(0), "60");
    assert_eq!(at(59), "1");
    assert_eq!(at(70), "-10");
    expires(&metrics, 100);
    assert_eq!(at(70), "30");
}

#[test]
fn no_expiry_is_shown_for_a_certificate_that_is_not_known() {
    let metrics = Metrics::new();
    let _project = metrics.project(&name("acme"));
    assert_eq!(
        value(
            &metrics,
            "portcullis_certificate_expiry_seconds{project=\"acme\"}"
        ),
        None
    );
}

#[test]
fn a_failed_reload_shows_until_one_succeeds() {
    let metrics = Metrics::new();
    let last = || shown(&metrics, "portcullis_config_last_reload_successful");
    assert_eq!(last(), "1");
    metrics.reloaded(false);
    assert_eq!(last(), "0");
    metrics.reloaded(true);
    assert_eq!(last(), "1");
    assert_eq!(
        shown(
            &metrics,
            "portcullis_config_reloads_total{result=\"error\"}"
        ),
        "1"
    );
}
