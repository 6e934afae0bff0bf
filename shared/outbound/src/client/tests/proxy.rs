//! Proxies from environment variables are not used. The variables apply to a whole process, so the test runs itself as
//! a child process.

use std::process::Command;

use super::*;

const VARIABLES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

#[test]
fn proxy_variables_are_ignored() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "client::tests::proxy::goes_straight", "--ignored"]);
    // Nothing listens on this port, so a request through the proxy would fail.
    for variable in VARIABLES {
        child.env(variable, "http://127.0.0.1:1");
    }
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by proxy_variables_are_ignored, with the variables set"]
async fn goes_straight() {
    let url = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", false).await;
    assert_eq!(post(local(), &url).await.verdict, Verdict::Accepted);
    assert_eq!(crate::fetch(&url).await.unwrap(), b"{}");
}
