//! Who is served, and what with.

use std::collections::BTreeSet;

use ktx_protocol::ktx::v1;
use ktx_protocol::protocol::domain_plugin_service_client::DomainPluginServiceClient;
use ktx_protocol::protocol::python_service_client::PythonServiceClient;
use ktx_protocol::protocol::{Empty, InitializeRequest, PythonExecuteRequest};
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::support::{
    Authenticated, Bearer, Daemon, client, kind, quoted, request, serve, text, value,
};

/// Every method that is served, as `/package.Service/Method`.
fn methods() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for descriptors in [
        ktx_protocol::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(descriptors).unwrap().file {
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }));
            }
        }
    }
    methods
}

/// Calls a method with an empty message and these credentials.
async fn call(channel: &Channel, method: &str, authorization: Option<&str>) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(());
    if let Some(given) = authorization {
        let given = given.parse().unwrap();
        request.metadata_mut().insert("authorization", given);
    }
    let path = PathAndQuery::try_from(method).unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    // Some methods stream without end; the beginning says enough.
    client.server_streaming(request, path, codec).await?;
    Ok(())
}

#[test]
fn refuses_every_method_without_the_token() {
    serve(&[], async |daemon| {
        let methods = methods();
        assert!(methods.contains("/grpc.health.v1.Health/Check"));
        let Bearer(right) = daemon.bearer();
        let secret = daemon.token.as_str();
        let wrong = [
            None,
            Some(String::new()),
            Some(format!("Bearer {}", "0".repeat(64))),
            Some(secret.to_owned()),
            Some(format!("Basic {secret}")),
            Some(format!("bearer {secret}")),
            Some(right[..right.len() - 1].to_owned()),
            Some(format!("{right}0")),
        ];
        let unknown = "/nobody.Nothing/Serves".to_owned();
        for method in methods.iter().chain([&unknown]) {
            for given in &wrong {
                let refused = call(&daemon.channel, method, given.as_deref()).await;
                let code = refused.unwrap_err().code();
                assert_eq!(code, Code::Unauthenticated, "{method} {given:?}");
            }
        }
        for method in methods.iter().filter(|name| !name.ends_with("/Shutdown")) {
            if let Err(status) = call(&daemon.channel, method, Some(&right)).await {
                let code = status.code();
                assert_ne!(code, Code::Unauthenticated, "{method} {status}");
                assert_ne!(code, Code::Unimplemented, "{method} {status}");
            }
        }
        // Whoever tries again and again does not fill the log.
        let log = daemon.world.log();
        assert_eq!(log.matches("without the token").count(), 1, "{log}");
        assert!(!log.contains(secret));
    });
}

fn provider(daemon: &Daemon) -> PythonServiceClient<Authenticated> {
    PythonServiceClient::with_interceptor(daemon.channel.clone(), daemon.bearer())
}

fn attested(code: &str, attestation: &[u8]) -> PythonExecuteRequest {
    PythonExecuteRequest {
        code: code.to_owned(),
        glyph_id: "glyph".to_owned(),
        upstream_attestation: attestation.to_owned(),
    }
}

#[test]
fn runs_code_for_clients_that_know_the_published_fields_only() {
    serve(&[], async |daemon| {
        let mut provider = provider(daemon);
        let code = "import os\nprint('out')\nos.write(1, b'\\xff')\n{'answer': 6 * 7}";
        let done = provider.execute(attested(code, b"")).await.unwrap();
        let done = done.into_inner();
        assert!(done.success);
        assert_eq!(done.output, "out\n\u{fffd}");
        assert_eq!(done.error, "");
        assert_eq!(text(&done.result), r#"{"answer":42}"#);

        let nothing = provider.execute(attested("x = 1", b"")).await.unwrap();
        assert_eq!(text(&nothing.into_inner().result), "null");

        let raised = attested("print('before')\n1 / 0", b"");
        let raised = provider.execute(raised).await.unwrap().into_inner();
        assert!(!raised.success);
        assert_eq!(raised.output, "before\n");
        let traceback = &raised.error;
        assert!(traceback.starts_with("Traceback (most recent call last):\n"));
        assert!(traceback.ends_with("ZeroDivisionError: division by zero\n"));
        assert_eq!(raised.result, b"");

        let exited = provider.execute(attested("import os; os._exit(3)", b""));
        let exited = exited.await.unwrap().into_inner();
        assert_eq!(exited.error, "Python exited with status 3");
    });
}

#[test]
fn shows_the_attestation_as_upstream() {
    serve(&[], async |daemon| {
        let mut provider = provider(daemon);
        let attestation = json!({"by": ["ü", 1.5, null], "of": "data"});
        let request = attested("upstream", attestation.to_string().as_bytes());
        let seen = provider.execute(request).await.unwrap().into_inner();
        let seen: Value = serde_json::from_slice(&seen.result).unwrap();
        assert_eq!(seen, attestation);
        let request = attested("'upstream' in globals()", b"");
        let absent = provider.execute(request).await.unwrap().into_inner();
        assert_eq!(text(&absent.result), "false");
    });
}

#[test]
fn runs_nothing_of_an_invalid_request() {
    serve(&[], async |daemon| {
        let ran = daemon.world.path("ran");
        let code = format!("open({}, 'w').close()", quoted(&ran));
        let mut provider = provider(daemon);
        for (code, attestation) in [
            ("", &b""[..]),
            (" \n\t", b""),
            (&code, b"{"),
            (&code, b"\xff"),
            (&code, b"1 2"),
            (&code, b"nan"),
        ] {
            let refused = provider.execute(attested(code, attestation)).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        }
        let call = || request(&*code);
        let upstream = Some(b"nothing".to_vec());
        let bytes = |text: &str| text.to_owned();
        #[rustfmt::skip]
        let invalid = [
            request(" \n"),
            v1::ExecuteRequest { upstream, ..call() },
            v1::ExecuteRequest { upstream_form: v1::Form::Repr.into(), ..call() },
            v1::ExecuteRequest { form: 7, ..call() },
            v1::ExecuteRequest { cwd: Some(bytes("relative")), ..call() },
            v1::ExecuteRequest { cwd: Some(bytes("/no/such/directory")), ..call() },
            v1::ExecuteRequest { args: vec![bytes("a\0b")], ..call() },
            v1::ExecuteRequest { env: [(bytes("A=B"), bytes(""))].into(), ..call() },
            v1::ExecuteRequest { env: [(bytes("A"), bytes("\0"))].into(), ..call() },
            v1::ExecuteRequest { session_id: bytes("1"), ..call() },
            v1::ExecuteRequest { session: "x".repeat(129), ..call() },
            v1::ExecuteRequest { session: bytes("a\nb"), ..call() },
        ];
        for request in invalid {
            let refused = daemon.execute(request.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
            let refused = daemon.client().execute_stream(request.clone()).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
        }
        assert!(!ran.exists());
        assert_eq!(kind(&daemon.run(&code).await), "none");
        assert!(ran.exists());
    });
}

#[test]
fn offers_python_to_a_host_of_plugins() {
    serve(&[], async |daemon| {
        let mut plugin =
            DomainPluginServiceClient::with_interceptor(daemon.channel.clone(), daemon.bearer());
        let settings = InitializeRequest {
            auth_token: "the host's".to_owned(),
            config: [("key".to_owned(), "value".to_owned())].into(),
            ..InitializeRequest::default()
        };
        let offered = plugin.initialize(settings).await.unwrap().into_inner();
        assert!(offered.python_provider);
        assert_eq!(offered.handler_names, [""; 0]);

        let metadata = plugin.metadata(Empty {}).await.unwrap().into_inner();
        assert_eq!(metadata.name, "ktx");
        assert_eq!(metadata.version, env!("CARGO_PKG_VERSION"));

        let health = plugin.health(Empty {}).await.unwrap().into_inner();
        assert!(health.healthy);
        assert_eq!(health.details["running"], "0");
    });
}

#[test]
fn answers_what_any_client_may_ask() {
    serve(&[], async |daemon| {
        let mut health = HealthClient::with_interceptor(daemon.channel.clone(), daemon.bearer());
        for service in ["", "ktx.v1.Python", "protocol.PythonService"] {
            let service = service.to_owned();
            let checked = health.check(HealthCheckRequest { service }).await.unwrap();
            assert_eq!(checked.into_inner().status(), ServingStatus::Serving);
        }

        let channel = daemon.channel.clone();
        let mut reflection = ServerReflectionClient::with_interceptor(channel, daemon.bearer());
        let question = tokio_stream::once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        });
        let answers = reflection.server_reflection_info(question).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
            panic!("{answer:?}");
        };
        let mut names: Vec<_> = services.service.into_iter().map(|one| one.name).collect();
        names.sort();
        insta::assert_snapshot!(names.join("\n"), @r"
        grpc.health.v1.Health
        grpc.reflection.v1.ServerReflection
        ktx.v1.Python
        protocol.DomainPluginService
        protocol.PythonService
        ");

        let status = daemon.status().await;
        assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(Some(status.pid), daemon.process.id());
        assert_eq!((status.running, status.waiting, status.calls), (0, 0, 0));
    });
}

#[test]
fn refuses_a_message_that_is_too_large_and_serves_on() {
    serve(&[], async |daemon| {
        let mut other = client(daemon.connect().await, daemon.bearer());
        let mut running = daemon
            .stream(request("import sys; print(1)\nsys.stdin.read(); 'through'"))
            .await;
        assert_eq!(running.line().await, "1");
        let oversized = request(format!("# {}", "x".repeat(66 * 1024 * 1024)));
        let refused = daemon.execute(oversized).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
        assert!(refused.message().contains("message length too large"));
        let done = other.execute(request("1")).await.unwrap();
        assert_eq!(value(&done.into_inner()), 1);
        assert_eq!(value(&running.rest().await.unwrap().1), "through");
        assert_eq!(value(&daemon.run("2").await), 2);
    });
}
