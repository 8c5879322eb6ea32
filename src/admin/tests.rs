use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Served {
    address: SocketAddr,
    readiness: watch::Sender<Readiness>,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
    certs: tempfile::TempDir,
}

async fn serve(bounds: Bounds) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, watched) = watch::channel(Readiness::new(Phase::Ready));
    let (stop, stopped) = oneshot::channel();
    let metrics = Metrics::new();
    let certs = tempfile::tempdir().unwrap();
    let admin = Admin {
        metrics: metrics.clone(),
        readiness: watched,
        keystore: Keystore::open(certs.path().to_owned()).unwrap(),
        bounds,
    };
    let task = tokio::spawn(admin.serve(listener, async { stopped.await.unwrap_or(()) }));
    Served {
        address,
        readiness,
        metrics,
        stop,
        task,
        certs,
    }
}

impl Served {
    /// Everything that the server says to these bytes, until it closes.
    async fn answer(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        self.answer(request.as_bytes()).await
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn healthz_says_ok_while_the_process_lives() {
    let served = serve(Bounds::default()).await;
    served
        .readiness
        .send_replace(Readiness::new(Phase::Draining));
    let answer = served.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(body(&answer), "ok\n");
}

#[tokio::test]
async fn t32_readyz_turns_off_while_draining() {
    let served = serve(Bounds::default()).await;
    for (phase, status, said) in [
        (Phase::Starting, "503", "starting\n"),
        (Phase::Ready, "200", "ready\n"),
        (Phase::Draining, "503", "draining\n"),
    ] {
        served.readiness.send_replace(Readiness::new(phase));
        let answer = served.get("/readyz").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(body(&answer), said);
    }
}

#[tokio::test]
async fn t31_a_failed_reload_is_told_without_turning_readiness_off() {
    let served = serve(Bounds::default()).await;
    served.readiness.send_replace(Readiness {
        phase: Phase::Ready,
        notes: vec!["last reload failed".to_owned()],
        certificates: vec!["acme: renewal failed".to_owned()],
    });
    let answer = served.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(
        body(&answer),
        "ready\nlast reload failed\nacme: renewal failed\n"
    );
}

#[tokio::test]
async fn a_revocation_list_is_served_as_der_and_as_pem_once_there_is_one() {
    let served = serve(Bounds::default()).await;
    for path in ["/crl/acme", "/crl/acme.pem", "/crl/..%2Facme", "/crl/ACME"] {
        let answer = served.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    let keystore = Keystore::open(served.certs.path().to_owned()).unwrap();
    let acme = keystore.project(&"acme".parse().unwrap());
    let month = jiff::SignedDuration::from_hours(30 * 24);
    let alice = "alice".parse().unwrap();
    acme.issue_to_client(&alice, month, jiff::Timestamp::now())
        .unwrap();

    let answer = served.get("/crl/acme").await;
    assert!(
        answer.contains("content-type: application/pkix-crl\r\n"),
        "{answer}"
    );
    let length = acme.revocation_list_der().unwrap().unwrap().len();
    assert!(
        answer.contains(&format!("content-length: {length}\r\n")),
        "{answer}"
    );
    let answer = served.get("/crl/acme.pem").await;
    assert_eq!(
        body(&answer),
        std::fs::read_to_string(acme.crl_file()).unwrap()
    );
}

#[tokio::test]
async fn metrics_come_in_prometheus_text_format() {
    let served = serve(Bounds::default()).await;
    served.metrics.accepted();
    let answer = served.get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(
        body(&answer).contains("\nportcullis_connections_accepted_total 1\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let served = serve(Bounds::default()).await;
    let answer = served.get("/secret").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(body(&answer), "not found\n");
    let posted = served
        .answer(b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let served = serve(Bounds {
        time: Duration::from_millis(20),
        ..Bounds::default()
    })
    .await;
    for silent in [&b""[..], b"GET /healthz HTTP/1.1\r\nHost"] {
        assert_eq!(
            served.answer(silent).await,
            "",
            "the read ends, or this test hangs"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_is_cut_off() {
    let served = serve(Bounds::default()).await;
    let mut long = b"GET /healthz HTTP/1.1\r\nX: ".to_vec();
    long.resize(20 * 1024, b'a');
    assert!(!served.answer(&long).await.contains("200 OK"));
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_is_served_again_and_again() {
    let bounds = Bounds {
        request_bytes: 100,
        ..Bounds::default()
    };
    let served = serve(bounds).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..10 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
    }
}

#[tokio::test]
async fn no_more_connections_are_served_than_there_are_slots() {
    let bounds = Bounds {
        connections: 1,
        ..Bounds::default()
    };
    let served = serve(bounds).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert_ne!(first.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
    let waiting = served.get("/healthz");
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        early = &mut waiting => panic!("served beyond the slots: {early}"),
        // The first connection is still served while the second one waits.
        () = async {
            for _ in 0..20 {
                answer.clear();
                first.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                while !answer.ends_with(b"ready\n") {
                    assert_ne!(first.read_buf(&mut answer).await.unwrap(), 0, "closed");
                }
            }
        } => {}
    }
    drop(first);
    assert_eq!(body(&waiting.await), "ok\n");
}

#[tokio::test]
async fn shutdown_ends_the_server() {
    let served = serve(Bounds::default()).await;
    assert_eq!(body(&served.get("/healthz").await), "ok\n");
    served.stop.send(()).unwrap();
    served.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}
