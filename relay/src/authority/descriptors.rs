//! Takes the descriptors that relays publish.

use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::{MAX_DESCRIPTOR_LEN, PublishError, Published};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::Office;
use crate::directory::publish;
use crate::metrics::authority::DescriptorResult;

/// How long a relay may take to hand over its descriptor.
const BODY_TIME: Duration = Duration::from_secs(5);

/// `POST /directory/descriptor`.
pub(super) fn router(office: &Arc<Office>) -> Router {
    Router::new()
        .route(publish::DESCRIPTOR_PATH, post(take))
        .layer(DefaultBodyLimit::max(MAX_DESCRIPTOR_LEN))
        .with_state(Arc::clone(office))
}

async fn take(
    State(office): State<Arc<Office>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<std::net::SocketAddr>>,
    request: axum::extract::Request,
) -> Response {
    let now = office.clock.now();
    if !office.limiter.allow(now.instant, peer.ip()) {
        office.metrics.descriptor(DescriptorResult::Rate);
        return (StatusCode::TOO_MANY_REQUESTS, "too many descriptors").into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_DESCRIPTOR_LEN);
    let bytes: Bytes = match tokio::time::timeout(BODY_TIME, body).await {
        Ok(Ok(bytes)) => bytes,
        failed => {
            office.metrics.descriptor(DescriptorResult::Transfer);
            return match failed {
                Ok(_) => (StatusCode::PAYLOAD_TOO_LARGE, "longer than any descriptor").into_response(),
                Err(_) => (StatusCode::REQUEST_TIMEOUT, "the descriptor did not come in time").into_response(),
            };
        }
    };
    let published = office.desk.lock().await.registry.publish(office.clock.now(), &bytes);
    office.metrics.descriptor(DescriptorResult::from(&published));
    match published {
        Ok(Published::Renewed) => StatusCode::OK.into_response(),
        Ok(Published::Changed) => {
            // Whether it is there is to be known before the next vote.
            office.probe.notify_one();
            StatusCode::OK.into_response()
        }
        Err(error) => {
            let status = match error {
                PublishError::Descriptor(_) => StatusCode::BAD_REQUEST,
                PublishError::Full => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::CONFLICT,
            };
            (status, error.to_string()).into_response()
        }
    }
}
