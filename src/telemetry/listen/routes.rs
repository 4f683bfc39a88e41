//! The paths.

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    View,
    events::Events,
    exposition,
    lasting::Lasting,
    negotiate::{self, Format},
    page,
    report::Report,
    table,
    verdict::stuck,
};

/// Headers of every answer. What is served is of this moment, and for nobody to embed.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// What the paths answer from.
#[derive(Clone)]
struct Sources {
    view: View,
    events: Events,
}

pub(super) fn router(view: View, events: Events) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/status", get(status))
        .route("/events", get(stream))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .layer(map_response(with_headers))
        .with_state(Sources { view, events })
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in ALWAYS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// All that a client says of what it accepts.
fn accept(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

async fn root(State(Sources { view, .. }): State<Sources>, headers: HeaderMap) -> Response {
    let vary = [(header::VARY, "accept")];
    if negotiate::wants_html(&accept(&headers)) {
        return (vary, page::answer()).into_response();
    }
    (vary, table::of(&view)).into_response()
}

async fn status(State(Sources { view, .. }): State<Sources>) -> Json<Report> {
    Json(Report::of(&view))
}

async fn stream(State(Sources { events, .. }): State<Sources>, Extension(lasting): Extension<Lasting>) -> Response {
    events.answer(&lasting)
}

async fn metrics(State(Sources { view, .. }): State<Sources>, headers: HeaderMap) -> Response {
    let text = match view.board.metrics() {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    };
    let (kind, text) = match negotiate::metrics(&accept(&headers)) {
        Format::OpenMetrics => ("application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        Format::Text => ("text/plain; version=0.0.4; charset=utf-8", exposition::text(&text)),
    };
    ([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], text).into_response()
}

/// This answers on a thread of its own: that a pipeline's threads still work has to be asked.
async fn live() -> (StatusCode, String) {
    match stuck() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(verdict) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", verdict.text)),
    }
}

async fn ready(State(Sources { view, .. }): State<Sources>) -> (StatusCode, String) {
    let rows = view.board.rows();
    let is_ready = rows.iter().all(|row| row.phase.is_ready());
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, rows.iter().map(|row| format!("{}: {}\n", row.name, row.phase)).collect())
}
