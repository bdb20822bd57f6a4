//! Every call carries the daemon's token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ktx_protocol::startup::Token;
use subtle::ConstantTimeEq;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Refuses calls without the token.
#[derive(Clone)]
pub(crate) struct Authentication {
    expected: Arc<str>,
    has_refused: Arc<AtomicBool>,
}

impl Authentication {
    pub(crate) fn new(token: &Token) -> Self {
        Self {
            expected: format!("Bearer {}", token.as_str()).into(),
            has_refused: Arc::default(),
        }
    }

    /// Compares in a time that says nothing about where they differ.
    fn admits(&self, given: &[u8]) -> bool {
        self.expected.as_bytes().ct_eq(given).into()
    }
}

impl Interceptor for Authentication {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization");
        if given.is_some_and(|given| self.admits(given.as_encoded_bytes())) {
            return Ok(request);
        }
        // Once: whoever tries again and again must not fill the log.
        if !self.has_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!("refused a call without the token; later ones are not logged");
        }
        Err(Status::unauthenticated(
            "The call carries no valid `authorization: Bearer <token>`",
        ))
    }
}

#[cfg(test)]
mod tests {
    use ktx_protocol::startup::Token;

    use super::Authentication;

    #[test]
    fn admits_the_token_and_nothing_like_it() {
        let authentication = Authentication::new(&Token::new([7; 32]));
        let right = format!("Bearer {}", "07".repeat(32));
        assert!(authentication.admits(right.as_bytes()));
        for wrong in [
            "",
            "Bearer ",
            &right[..70],
            &format!("{right}0"),
            &"07".repeat(32),
        ] {
            assert!(!authentication.admits(wrong.as_bytes()), "{wrong}");
        }
    }
}
