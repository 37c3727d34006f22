//! `kakera.v1.Admin`: for the operator, on loopback only.

use super::Api;
use crate::errors::ApiError;
use kakera_proto::v1::{ShutdownRequest, ShutdownResponse, admin_server};
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

/// The service.
pub struct AdminService {
    /// What every service needs.
    pub api: Api,
    /// Told when the process is to stop.
    pub stop: Arc<Notify>,
}

impl AdminService {
    /// As a tonic service with its limits set.
    pub fn into_server(self) -> admin_server::AdminServer<AdminService> {
        admin_server::AdminServer::new(self).max_decoding_message_size(1024)
    }
}

#[tonic::async_trait]
impl admin_server::Admin for AdminService {
    async fn shutdown(&self, request: Request<ShutdownRequest>) -> Result<Response<ShutdownResponse>, Status> {
        if !request.remote_addr().is_some_and(|address| address.ip().is_loopback()) {
            return Err(self.api.refuse(ApiError::NotLoopback));
        }
        tracing::info!("asked to stop");
        self.stop.notify_one();
        Ok(Response::new(ShutdownResponse {}))
    }
}
