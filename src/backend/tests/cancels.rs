//! What becomes of a CancelRequest inside TLS (T9).

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;

use super::*;

const REQUEST: &[u8] = b"please";

/// A server that reads one request inside TLS and closes in its own way, and where it is reached.
async fn ending(
    pki: &Pki,
    config: ServerConfig,
    end: impl FnOnce(TcpStream) + Send + 'static,
) -> (Reached, JoinHandle<Option<Vec<u8>>>) {
    let (listener, address) = listen().await;
    let endpoint = backend(
        &format!("postgres://{address}"),
        &pki.tls(SslMode::VerifyFull),
    );
    let server = tokio::spawn(async move {
        let mut stream = accept_ssl_request(&listener).await;
        stream.write_all(b"S").await.unwrap();
        let accepted = TlsAcceptor::from(Arc::new(config)).accept(stream);
        let mut stream = match accepted.into_fallible().await {
            Ok(stream) => stream,
            Err((_, mut stream)) => {
                // Closed with bytes unread it would be reset, and the alert lost.
                stream.read_to_end(&mut Vec::new()).await.ok();
                return None;
            }
        };
        let mut request = vec![0; REQUEST.len()];
        stream.read_exact(&mut request).await.unwrap();
        end(stream.into_inner().0);
        Some(request)
    });
    let reached = Reached {
        endpoint: Arc::new(endpoint),
        peer: BackendPeer::Tcp(address),
    };
    (reached, server)
}

#[tokio::test]
async fn t9_a_cancel_is_done_when_the_backend_closes_however_it_does() {
    let pki = Pki::new(&["127.0.0.1"]);
    let config = || (*server_config(&pki.identity, &TlsPolicy::default())).clone();
    let reset: fn(TcpStream) = |stream| {
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&stream).set_linger(linger).unwrap();
    };
    for end in [drop::<TcpStream> as fn(TcpStream), reset] {
        let (reached, server) = ending(&pki, config(), end).await;
        reached.cancel(REQUEST).await.unwrap();
        assert_eq!(server.await.unwrap().as_deref(), Some(REQUEST));
    }
}

#[tokio::test]
async fn t9_a_cancel_that_the_backend_refuses_in_tls_has_failed() {
    let pki = Pki::new(&["127.0.0.1"]);
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&pki.roots).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let own = SingleCertAndKey::from(Arc::clone(pki.identity.certified_key()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(Arc::new(own));
    let (reached, server) = ending(&pki, config, drop).await;
    let error = reached.cancel(REQUEST).await.unwrap_err();
    assert!(
        error.is_tls() && error.to_string().contains("certificate"),
        "{error}"
    );
    assert_eq!(server.await.unwrap(), None);
}

#[tokio::test]
async fn t9_a_cancel_goes_by_what_is_in_force_where_the_address_is_still_known() {
    let (before, after) = (Pki::new(&["127.0.0.1"]), Pki::new(&["127.0.0.1"]));
    let addr = |text: &str| text.parse::<BackendAddr>().unwrap();
    let made = |pki: &Pki, addr: BackendAddr| {
        let dialling = dialling(&pki.tls(SslMode::VerifyFull));
        Backend::new(vec![addr], dialling.into(), Balance::Order).unwrap()
    };
    let here = addr("postgres://127.0.0.1:5432");
    let reached = Reached {
        endpoint: Arc::clone(&made(&before, here.clone()).endpoints()[0]),
        peer: BackendPeer::Tcp("127.0.0.1:5432".parse().unwrap()),
    };
    let now = made(&after, here);
    assert!(Arc::ptr_eq(&reached.by(&now).endpoint, &now.endpoints()[0]));
    let elsewhere = made(&after, addr("postgres://127.0.0.1:5433"));
    let same = reached.by(&elsewhere);
    assert!(Arc::ptr_eq(&same.endpoint, &reached.endpoint));
    assert_eq!(same.peer, reached.peer);
}
