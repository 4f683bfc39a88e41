//! Sends the requests of the library with the same client as all others, and so with the same certificates, proxies and messages.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

use bytes::Bytes;
use hyper::body::Body as _;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
    },
};
use reqwest::Url;

use crate::sink::aws::{Lost, Wire};

/// Gives the library its client.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Wire);

#[derive(Debug)]
struct Requests(Wire);

impl HttpConnector for Connector {
    /// Options of the library are not set anywhere here.
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Requests(self.0.clone())))
    }
}

// As the attribute of `async_trait` writes it, which the library has on the trait.
impl HttpService for Requests {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(exchange(&self.0, request))
    }
}

async fn exchange(wire: &Wire, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let wrong = |what: &str| Lost { is_timeout: false, reason: what.to_owned() };
    let body = whole(body).await?;
    let sent = async {
        let url: Url = head.uri.to_string().parse().map_err(|_| wrong("the endpoint's address cannot be read"))?;
        wire.ask(head.method, url, head.headers, body).await
    };
    let answer = sent.await.map_err(|lost| {
        let kind = if lost.is_timeout { HttpErrorKind::Timeout } else { HttpErrorKind::Unknown };
        HttpError::new(kind, lost)
    })?;
    let mut response = HttpResponse::new(answer.body.into());
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// The bytes of a body, all of which are in memory. An object is one piece, and is not copied.
async fn whole(mut body: HttpRequestBody) -> Result<Bytes, HttpError> {
    let mut pieces = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.transpose()? {
        pieces.extend(frame.into_data().ok());
    }
    Ok(match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => pieces.concat().into(),
    })
}
