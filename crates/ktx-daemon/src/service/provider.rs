//! `protocol.PythonService`: what every provider of Python serves.

use std::sync::Arc;

use ktx_protocol::protocol::python_service_server::PythonService;
use ktx_protocol::protocol::{PythonExecuteRequest, PythonExecuteResponse};
use tonic::{Request, Response, Status};

use super::{cancelled, on_drop, status};
use crate::call::{Ended, Sink};
use crate::outcome;
use crate::request::{self, Form};
use crate::supervisor::{Order, Supervisor};

pub(crate) struct Provider(pub(crate) Arc<Supervisor>);

#[tonic::async_trait]
impl PythonService for Provider {
    async fn execute(
        &self,
        request: Request<PythonExecuteRequest>,
    ) -> Result<Response<PythonExecuteResponse>, Status> {
        let PythonExecuteRequest {
            code,
            glyph_id,
            upstream_attestation,
        } = request.into_inner();
        if !glyph_id.is_empty() {
            tracing::debug!(glyph_id, "a call");
        }
        let upstream = (!upstream_attestation.is_empty()).then_some(upstream_attestation);
        let (cancellation, _dropped) = on_drop();
        let order = Order {
            request: request::Request {
                code,
                upstream: upstream.map(|json| (Form::Json, json)),
                ..request::Request::default()
            },
            session: None,
            call_id: String::new(),
            sink: Sink::Outcome,
            cancellation,
        };
        let outcome = match self.0.execute(order).await.map_err(|why| status(&why))? {
            Ended::Outcome(outcome) => outcome,
            Ended::Cancelled => return Err(cancelled()),
        };
        let output = outcome::text(&outcome.stdout).into_owned();
        let response = match outcome.result {
            Ok(result) => PythonExecuteResponse {
                success: true,
                output,
                error: String::new(),
                result,
            },
            Err(failure) => PythonExecuteResponse {
                success: false,
                output,
                error: failure.text().to_owned(),
                result: Vec::new(),
            },
        };
        Ok(Response::new(response))
    }
}
