//! `protocol.DomainPluginService`: how a host of plugins meets this provider.

use std::collections::HashMap;
use std::sync::Arc;

use ktx_protocol::protocol::domain_plugin_service_server::DomainPluginService;
use ktx_protocol::protocol::{
    Empty, HealthResponse, InitializeRequest, InitializeResponse, MetadataResponse,
};
use tonic::{Request, Response, Status};

use crate::supervisor::Supervisor;

pub(crate) struct Plugin(pub(crate) Arc<Supervisor>);

#[tonic::async_trait]
impl DomainPluginService for Plugin {
    async fn metadata(&self, _: Request<Empty>) -> Result<Response<MetadataResponse>, Status> {
        Ok(Response::new(MetadataResponse {
            name: "ktx".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            qntx_version: ">=0.1.0".to_owned(),
            description: "Runs Python code in isolated workers".to_owned(),
            author: "Kaelio".to_owned(),
            license: env!("CARGO_PKG_LICENSE").to_owned(),
        }))
    }

    async fn initialize(
        &self,
        _: Request<InitializeRequest>,
    ) -> Result<Response<InitializeResponse>, Status> {
        Ok(Response::new(InitializeResponse {
            handler_names: Vec::new(),
            python_provider: true,
        }))
    }

    async fn health(&self, _: Request<Empty>) -> Result<Response<HealthResponse>, Status> {
        let statistics = self.0.statistics();
        let healthy = !self.0.leaving.is_cancelled();
        let details = [
            ("running", u64::from(statistics.running)),
            ("waiting", u64::from(statistics.waiting)),
            ("calls", statistics.calls),
        ];
        Ok(Response::new(HealthResponse {
            healthy,
            message: if healthy { "serving" } else { "shutting down" }.to_owned(),
            details: details
                .map(|(name, number)| (name.to_owned(), number.to_string()))
                .into_iter()
                .collect::<HashMap<_, _>>(),
        }))
    }

    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        tracing::info!("asked to shut down");
        self.0.leaving.cancel();
        Ok(Response::new(Empty {}))
    }
}
