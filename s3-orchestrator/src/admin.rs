//! The admin API on the main listener: who asks, the body of the request, and the house that it is about.

use std::net::SocketAddr;

use ::admin::{AdminApi, House};
use config::Config;
use gateway::{Network, client_ip};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::time::Duration;

use crate::front::{AnswerBody, whole};
use crate::health::plain;
use crate::lingering::Lingering;

/// Bytes of a body that the admin API takes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The door to the admin API.
pub(crate) struct AdminDoor {
    api: AdminApi,
    trusted: Vec<Network>,
}

impl AdminDoor {
    /// The door that a configuration asks for, where it has a token.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let token = config.ui.admin_token.as_ref()?;
        let trusted = crate::wiring::trusted_proxies(config);
        Some(Self { api: AdminApi::new(token.expose()), trusted })
    }

    /// From now on, there is something to tell.
    pub(crate) fn open(&self, house: House) {
        self.api.connect(house);
    }

    /// Whether a path is behind this door.
    pub(crate) fn is_for(path: &str) -> bool {
        AdminApi::is_for(path)
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<AnswerBody> {
        let client = client_ip(peer.ip(), request.headers(), &self.trusted);
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let body = Lingering::new(body, request.headers());
        if let Err(refused) = self.api.admit(&request, client) {
            return whole(&request, *refused);
        }
        let read = runtime::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await;
        let Ok(Ok(body)) = read else {
            let text = "{\"error\":\"the body is too long, or did not come whole in time\"}";
            return whole(&request, plain(StatusCode::BAD_REQUEST, "application/json", text));
        };
        let (parts, ()) = request.into_parts();
        let asked = Request::from_parts(parts.clone(), body.to_bytes());
        let answer = self.api.answer(asked, client).await;
        whole(&Request::from_parts(parts, ()), answer)
    }
}
