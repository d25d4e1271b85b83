//! The proxy does what it is told, to connections that are open and to new ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use testkit::{Fault, FaultProxy, RawServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);
const LENGTH: usize = 300_000;

/// A server that gives back whatever it gets, and a proxy before it.
async fn start() -> (RawServer, FaultProxy) {
    let server = RawServer::start(async |mut connection| {
        let (mut reader, mut writer) = connection.stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    let proxy = FaultProxy::start(&server.endpoint).await;
    (server, proxy)
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    try_connect(proxy).await.unwrap()
}

async fn try_connect(proxy: &FaultProxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(proxy.endpoint.trim_start_matches("http://")).await
}

/// Sends bytes there and back; how many came back before the connection ended, or an error.
async fn echo(stream: &mut TcpStream, length: usize) -> std::io::Result<usize> {
    let sent: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (mut reader, mut writer) = stream.split();
    let mut got = vec![0; length];
    let reading = async {
        let mut count = 0;
        while count < length {
            match reader.read(&mut got[count..]).await? {
                0 => break,
                read => count += read,
            }
        }
        Ok::<_, std::io::Error>(count)
    };
    let writing = async {
        let _ = writer.write_all(&sent).await;
        std::future::pending::<()>().await;
    };
    let count = tokio::select! { count = reading => count?, () = writing => unreachable!("it never ends") };
    assert!(got[..count] == sent[..count], "bytes are changed on the way");
    Ok(count)
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    runtime::timeout(PATIENCE, what).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_unchanged_and_so_do_ends() {
    let (server, proxy) = start().await;
    let mut stream = connect(&proxy).await;
    assert_eq!(patiently(echo(&mut stream, LENGTH)).await.unwrap(), LENGTH);
    // A half-closed connection still gives what is under way.
    stream.write_all(b"the last").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    patiently(stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!((rest.as_str(), proxy.connections(), proxy.injected()), ("the last", 1, (0, 0)));
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_reset_end_open_and_new_connections_until_mended() {
    let (_server, proxy) = start().await;
    for fault in [Fault::Cut, Fault::Reset] {
        let mut open = connect(&proxy).await;
        assert_eq!(patiently(echo(&mut open, 1000)).await.unwrap(), 1000);
        proxy.set(fault);
        // It ends without anybody sending anything.
        let ended = patiently(open.read(&mut [0])).await;
        match fault {
            Fault::Reset => assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset),
            _ => assert_eq!(ended.unwrap(), 0),
        }
        // A reset may even come before it knows that it is connected.
        if let Ok(mut new) = try_connect(&proxy).await {
            assert!(matches!(patiently(echo(&mut new, 1000)).await, Ok(0) | Err(_)));
        }
        proxy.set(Fault::None);
        assert_eq!(patiently(echo(&mut connect(&proxy).await, 1000)).await.unwrap(), 1000);
    }
    assert!(proxy.injected().0 >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stalled_waits_and_passes_later() {
    let (_server, proxy) = start().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Fault::Stall);
    let moving = echo(&mut stream, LENGTH);
    tokio::pin!(moving);
    let passed = runtime::timeout(Duration::from_millis(300), &mut moving).await;
    assert!(passed.is_err(), "nothing passes");
    proxy.set(Fault::None);
    assert_eq!(patiently(moving).await.unwrap(), LENGTH);
    assert!(proxy.injected().1 > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_takes_its_time_and_can_be_hurried() {
    let (_server, proxy) = start().await;
    for fault in [Fault::Throttle { bytes_per_s: 100_000 }, Fault::Slow(Duration::from_millis(100))] {
        proxy.set(fault);
        let mut stream = connect(&proxy).await;
        let began = runtime::instant_now();
        assert_eq!(patiently(echo(&mut stream, 50_000)).await.unwrap(), 50_000);
        assert!(began.elapsed() >= Duration::from_millis(200), "{fault:?}: {:?}", began.elapsed());
        // For ever, unless it is told otherwise.
        proxy.set(Fault::Slow(Duration::from_secs(3600)));
        let moving = echo(&mut stream, 1000);
        tokio::pin!(moving);
        assert!(runtime::timeout(Duration::from_millis(200), &mut moving).await.is_err());
        proxy.set(Fault::None);
        assert_eq!(patiently(moving).await.unwrap(), 1000);
    }
}
