//! A backend that welcomes everybody and sends back whatever comes.

use std::env;
use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// AuthenticationOk, BackendKeyData, ReadyForQuery.
pub(crate) const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";

/// Prints its address and serves.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run() {
    let with_tls: bool = env::var("TLS").unwrap().parse().unwrap();
    let tls = with_tls.then(|| TlsAcceptor::from(server_config()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(socket, tls.clone()));
    }
}

async fn serve(mut socket: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    match tls {
        None => echo(socket).await,
        Some(tls) => {
            socket.read_exact(&mut [0; 8]).await?;
            socket.write_all(b"S").await?;
            echo(tls.accept(socket).await?).await
        }
    }
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let length = stream.read_u32().await? as usize;
    stream.read_exact(&mut vec![0; length - 4]).await?;
    stream.write_all(WELCOME).await?;
    stream.flush().await?;
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

fn server_config() -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf: CertificateDer<'static> = params.self_signed(&key).unwrap().into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config.send_tls13_tickets = 0;
    Arc::new(config)
}
