//! Against servers that misbehave, over real connections.

use super::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KEYS: &[Key] = &[[7; 32]];

/// Answers every connection with `answer`, once it has read a request's head.
async fn server(answer: impl Fn(String) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head(&mut stream).await;
            // The client may be gone already; that is the point of some of these.
            let _ = stream.write_all(&answer(head)).await;
        }
    });
    address
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn client() -> Client {
    Client::new(Arc::new(Allowed::parse(&["127.0.0.1"]).expect("reads")))
}

async fn call(client: &Client, url: &str, timeout_ms: u64) -> Reply {
    let timeout = Duration::from_millis(timeout_ms);
    client.call(&Call { url, body: "{}", id: "id-1", act_id: Some("a1"), test: false, keys: KEYS, timeout }).await
}

#[tokio::test]
async fn a_request_carries_its_signatures_and_ids() {
    let at = server(|head| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()).into_bytes()).await;
    let reply = call(&client(), &format!("http://{at}/hook?x=1"), 5_000).await;
    assert!(reply.is_success(), "{reply:?}");
    let head = reply.body.to_ascii_lowercase();
    assert!(head.starts_with("post /hook?x=1 http/1.1\r\n"), "{head}");
    for line in [
        "content-type: application/json".to_owned(),
        "webhook-id: id-1".to_owned(),
        "x-lodestone-act-id: a1".to_owned(),
        format!("x-attractify-signature: {}", sign::over_body(&KEYS[0], "{}")),
        "webhook-signature: v1,".to_owned(),
        "x-lodestone-signature: t=".to_owned(),
        format!("host: {at}"),
    ] {
        assert!(head.contains(&line), "{line} is missing in\n{head}");
    }
    assert!(!head.contains("x-lodestone-test"), "{head}");
}

#[tokio::test]
async fn a_huge_answer_is_cut() {
    let at = server(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.extend("é".repeat(1 << 20).into_bytes());
        answer
    })
    .await;
    let reply = call(&client(), &format!("http://{at}/"), 5_000).await;
    assert_eq!((reply.outcome, reply.body.len()), (Ok(200), ANSWER_BYTES_MAX));
    assert!(reply.body.chars().all(|c| c == 'é'));
}

/// P-23: a redirect is an answer like any other, wherever it leads.
#[tokio::test]
async fn redirects_are_not_followed() {
    let at = server(|_| b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let reply = call(&client(), &format!("http://{at}/"), 5_000).await;
    assert_eq!(reply.outcome, Ok(302));
    assert!(!reply.is_success());
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart() {
    let client = client();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent_at = silent.local_addr().expect("a bound port");
    let torn = server(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()).await;
    let nonsense = server(|_| b"SSH-2.0-OpenSSH\r\n".to_vec()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let plain = listener.local_addr().expect("a bound port");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("a bound port");
    for (url, fault) in [
        (format!("http://{silent_at}/"), Fault::Timeout),
        (format!("http://{torn}/"), Fault::Broken),
        (format!("http://{nonsense}/"), Fault::Broken),
        (format!("http://{free}/"), Fault::Connect),
        (format!("https://{plain}/"), Fault::Tls),
        ("http://127.0.0.2/".to_owned(), Fault::Refused),
        ("http://[::1]/".to_owned(), Fault::Refused),
        ("http://nobody.invalid/".to_owned(), Fault::Resolve),
    ] {
        let reply = call(&client, &url, 700).await;
        assert_eq!(reply.outcome, Err(fault), "{url}");
    }
    let inside = call(&Client::new(Arc::default()), &format!("http://localhost:{}/", silent_at.port()), 700).await;
    assert_eq!(inside.outcome, Err(Fault::Refused), "a name that leads inside");
    let unsigned = Call { url: "http://127.0.0.1/", body: "{}", id: "i", act_id: None, test: false, keys: &[], timeout: IDLE };
    assert_eq!(client.call(&unsigned).await.outcome, Err(Fault::Unsigned));
}

/// An answer that never ends does not outlive the time that it has.
#[tokio::test]
async fn a_dripping_answer_is_cut_by_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("a bound port");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let reply = call(&client(), &format!("http://{at}/"), 300).await;
    assert_eq!(reply.outcome, Err(Fault::Timeout));
    assert!(reply.took < Duration::from_secs(2), "{:?}", reply.took);
}

#[test]
fn pauses_are_read_in_both_forms_and_bounded() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().expect("a header value"));
        retry_after(&headers, now)
    };
    assert_eq!(read("7"), Some(Duration::from_secs(7)));
    assert_eq!(read(&httpdate::fmt_http_date(now + Duration::from_secs(90))), Some(Duration::from_secs(90)));
    assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "a date that is past");
    assert_eq!(read("86400"), Some(RETRY_AFTER_MAX));
    assert_eq!(read("soon"), None);
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}
