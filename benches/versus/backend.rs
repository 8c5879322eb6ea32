//! The fake backend: a PostgreSQL that answers from memory, so that the proxy is what is measured.
//!
//! It does SCRAM for real, answers every query with one row, and knows two queries of its own:
//! `DOWNLOAD n` (CopyData of n bytes, then the end of the session) and `UPLOAD n [CHECK]`.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certs;
use crate::pipe::{BULK_CHUNK, Pipe, bulk_chunk, fault, message};
use crate::scram::{self, Secret};

const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
const GSSENC_REQUEST: [u8; 4] = 80_877_104_u32.to_be_bytes();

/// How the role is told what it needs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

struct Backend {
    tls: TlsAcceptor,
    secret: Secret,
    welcome: Vec<u8>,
    answer: Vec<u8>,
    chunk: Arc<[u8]>,
    nonce: AtomicU64,
}

/// Serves until the process is killed; its first line of output is the port.
pub(crate) async fn serve(setup: Setup) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let backend = Arc::new(Backend {
        tls: certs::acceptor(&setup.certificate, &setup.key)?,
        secret: Secret::derive(),
        welcome: welcome(),
        answer: one_row(),
        chunk: bulk_chunk(),
        nonce: AtomicU64::new(0),
    });
    println!("{}", listener.local_addr()?.port());
    loop {
        let (socket, _) = listener.accept().await?;
        let backend = Arc::clone(&backend);
        // How a session ends is the load's to judge.
        drop(tokio::spawn(async move { backend.session(socket).await }));
    }
}

impl Backend {
    async fn session(&self, socket: TcpStream) -> io::Result<()> {
        let mut pipe = Pipe::plain(socket)?;
        let mut startup = pipe.packet().await?;
        while startup.starts_with(&GSSENC_REQUEST) || startup.starts_with(&SSL_REQUEST) {
            if startup.starts_with(&SSL_REQUEST) {
                pipe.send(b"S").await?;
                pipe = pipe.accept_tls(&self.tls).await?;
            } else {
                pipe.send(b"N").await?;
            }
            startup = pipe.packet().await?;
        }
        self.authenticate(&mut pipe).await?;
        pipe.send(&self.welcome).await?;
        loop {
            let (tag, body) = pipe.message().await?;
            match tag {
                b'Q' => self.query(&mut pipe, &body).await?,
                b'X' => return Ok(()),
                other => return Err(fault(format!("message {}", char::from(other)))),
            }
        }
    }

    async fn authenticate(&self, pipe: &mut Pipe) -> io::Result<()> {
        let sasl = 10_u32.to_be_bytes();
        pipe.send(&message(b'R', &[&sasl, b"SCRAM-SHA-256\0\0"]))
            .await?;
        let (_, first) = pipe.message().await?;
        let first = String::from_utf8_lossy(&first).into_owned();
        let first_bare = first
            .split_once(",,")
            .ok_or_else(|| fault("no gs2-header"))?
            .1;
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        let server_first =
            scram::server_first(first_bare, nonce).ok_or_else(|| fault("no first message"))?;
        let proceed = 11_u32.to_be_bytes();
        pipe.send(&message(b'R', &[&proceed, server_first.as_bytes()]))
            .await?;
        let (_, client_final) = pipe.message().await?;
        let client_final = String::from_utf8_lossy(&client_final);
        let server_final = self
            .secret
            .server_final(first_bare, &server_first, &client_final)
            .ok_or_else(|| fault("wrong proof"))?;
        let done = 12_u32.to_be_bytes();
        pipe.send(&message(b'R', &[&done, server_final.as_bytes()]))
            .await
    }

    async fn query(&self, pipe: &mut Pipe, body: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(body);
        let mut words = text.trim_end_matches('\0').split(' ');
        match (
            words.next(),
            words.next().and_then(|count| count.parse().ok()),
        ) {
            (Some("DOWNLOAD"), Some(bytes)) => self.download(pipe, bytes).await,
            (Some("UPLOAD"), Some(bytes)) => self.upload(pipe, bytes, words.next().is_some()).await,
            _ => pipe.send(&self.answer).await,
        }
    }

    /// Ends the session, so that a client that doesn't decrypt can see the end.
    async fn download(&self, pipe: &mut Pipe, bytes: u64) -> io::Result<()> {
        pipe.send(&message(b'H', &[&[0, 0, 0]])).await?;
        for _ in 0..bytes / BULK_CHUNK as u64 {
            pipe.send(&self.chunk).await?;
        }
        pipe.finish(&done("COPY 1", true)).await?;
        Err(fault("downloaded"))
    }

    async fn upload(&self, pipe: &mut Pipe, bytes: u64, check: bool) -> io::Result<()> {
        pipe.send(&message(b'G', &[&[0, 0, 0]])).await?;
        if check {
            for _ in 0..bytes / BULK_CHUNK as u64 {
                if *pipe.exactly(BULK_CHUNK).await? != *self.chunk {
                    return Err(fault("the upload changed on its way"));
                }
            }
        } else {
            pipe.skip(bytes).await?;
        }
        let (tag, _) = pipe.message().await?;
        if tag != b'c' {
            return Err(fault("no CopyDone"));
        }
        pipe.send(&done("COPY 1", false)).await
    }
}

fn done(command: &str, copied: bool) -> Vec<u8> {
    let mut out = if copied {
        message(b'c', &[])
    } else {
        Vec::new()
    };
    out.extend(message(b'C', &[command.as_bytes(), &[0]]));
    out.extend(message(b'Z', &[b"I"]));
    out
}

/// AuthenticationOk to ReadyForQuery, about as long as PostgreSQL's own.
fn welcome() -> Vec<u8> {
    let settings: [&[u8]; 9] = [
        b"application_name\0\0",
        b"client_encoding\0UTF8\0",
        b"DateStyle\0ISO, MDY\0",
        b"integer_datetimes\0on\0",
        b"IntervalStyle\0postgres\0",
        b"server_encoding\0UTF8\0",
        b"server_version\x0015.0\0",
        b"standard_conforming_strings\0on\0",
        b"TimeZone\0UTC\0",
    ];
    let mut out = message(b'R', &[&[0; 4]]);
    settings
        .iter()
        .for_each(|setting| out.extend(message(b'S', &[setting])));
    out.extend(message(b'K', &[&7_u32.to_be_bytes(), &9_u32.to_be_bytes()]));
    out.extend(message(b'Z', &[b"I"]));
    out
}

/// The answer to SELECT 1.
fn one_row() -> Vec<u8> {
    let column = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0,
    ];
    let mut out = message(b'T', &[&[0, 1], b"?column?\0", &column]);
    out.extend(message(b'D', &[&[0, 1, 0, 0, 0, 1], b"1"]));
    out.extend(done("SELECT 1", false));
    out
}
