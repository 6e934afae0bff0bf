//! Work that no response waits for.

use tower::{Service, ServiceExt as _};

/// Returns a service that does some work after each invocation, whether it succeeded or not.
///
/// It must be the outermost service of a Lambda runtime. The inner ones have then posted the response, which Lambda
/// passes on at once. The runtime asks for the next invocation only afterwards, and the process is not frozen before.
pub fn followed_by<R, E, S, W, F>(service: S, work: W) -> impl Service<R, Response = (), Error = E>
where
    S: Service<R, Response = (), Error = E>,
    W: FnOnce() -> F + Clone,
    F: Future<Output = ()>,
{
    service.then(|posted: Result<(), E>| async move {
        work().await;
        posted
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn work_follows_each_answer() {
        let done = Mutex::new(Vec::new());
        let note = |what: String| done.lock().unwrap().push(what);
        let posting = service_fn(|answer: &str| {
            note(format!("{answer} posted"));
            let answer = if answer == "fault" { Err(answer.to_owned()) } else { Ok(()) };
            async move { answer }
        });
        let mut service = followed_by(posting, || async { note("work".to_owned()) });
        assert!(service.call("yes").await.is_ok());
        assert_eq!(service.call("fault").await.unwrap_err(), "fault");
        assert_eq!(*done.lock().unwrap(), ["yes posted", "work", "fault posted", "work"]);
    }
}
