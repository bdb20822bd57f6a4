//! What clients in other languages rely on: the names, numbers and types of
//! everything that travels. Fields and methods may be added; what stands here
//! stays.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions,
    ServiceDescriptorProto,
};

#[test]
fn keeps_what_every_client_of_python_knows() {
    insta::assert_snapshot!(described("protocol/python.proto"), @r"
    package protocol
    service PythonService
      Execute(.protocol.PythonExecuteRequest) .protocol.PythonExecuteResponse
    message PythonExecuteRequest
      1 code: string
      2 glyph_id: string
      3 upstream_attestation: bytes
    message PythonExecuteResponse
      1 success: bool
      2 output: string
      3 error: string
      4 result: bytes
    ");
}

#[test]
fn keeps_what_hosts_of_plugins_know() {
    insta::assert_snapshot!(described("protocol/domain.proto"), @r"
    package protocol
    service DomainPluginService
      Metadata(.protocol.Empty) .protocol.MetadataResponse
      Initialize(.protocol.InitializeRequest) .protocol.InitializeResponse
      Health(.protocol.Empty) .protocol.HealthResponse
      Shutdown(.protocol.Empty) .protocol.Empty
    message Empty
    message MetadataResponse
      1 name: string
      2 version: string
      3 qntx_version: string
      4 description: string
      5 author: string
      6 license: string
    message InitializeRequest
      1 ats_store_endpoint: string
      2 queue_endpoint: string
      3 auth_token: string
      4 config: map<string, string>
    message InitializeResponse
      1 handler_names: repeated string
      9 python_provider: bool
    message HealthResponse
      1 healthy: bool
      2 message: string
      3 details: map<string, string>
    ");
}

#[test]
fn keeps_what_clients_of_ktx_know() {
    insta::assert_snapshot!(described("ktx/v1/python.proto"), @r"
    package ktx.v1
    service Python
      Execute(.ktx.v1.ExecuteRequest) .ktx.v1.ExecuteResponse
      ExecuteStream(.ktx.v1.ExecuteRequest) stream .ktx.v1.ExecuteEvent
      Cancel(.ktx.v1.CancelRequest) .ktx.v1.CancelResponse
      OpenSession(.ktx.v1.OpenSessionRequest) .ktx.v1.Session
      CloseSession(.ktx.v1.CloseSessionRequest) .ktx.v1.CloseSessionResponse
      ListSessions(.ktx.v1.ListSessionsRequest) .ktx.v1.ListSessionsResponse
      Status(.ktx.v1.StatusRequest) .ktx.v1.StatusResponse
    enum Form
      0 FORM_JSON
      1 FORM_MSGPACK
      2 FORM_REPR
    message ExecuteRequest
      1 code: string
      2 filename: string
      3 args: repeated string
      4 upstream: optional bytes
      5 upstream_form: .ktx.v1.Form
      6 timeout_ms: optional uint64
      7 cwd: optional string
      8 env: map<string, string>
      9 form: .ktx.v1.Form
      10 session: string
      11 session_id: string
      12 call_id: string
      13 max_output_bytes: optional uint64
      14 max_memory_bytes: optional uint64
    message ExecuteResponse
      1 success: bool
      2 value: bytes
      3 stdout: bytes
      4 stderr: bytes
      5 error: .ktx.v1.Failure
      6 duration_ms: double
      7 output_truncated: bool
    message Failure
      1 kind: string
      2 message: string
      3 traceback: string
      4 exit_status: optional int32
      5 signal: optional int32
    message ExecuteEvent
      1 stdout: bytes of event
      2 stderr: bytes of event
      3 outcome: .ktx.v1.ExecuteResponse of event
    message CancelRequest
      1 call_id: string
    message CancelResponse
      1 found: bool
    message OpenSessionRequest
      1 name: string
    message Session
      1 name: string
      2 id: string
      3 created: bool
      4 calls: uint64
      5 busy: bool
    message CloseSessionRequest
      1 name: string
      2 id: string
    message CloseSessionResponse
      1 found: bool
    message ListSessionsRequest
    message ListSessionsResponse
      1 sessions: repeated .ktx.v1.Session
    message StatusRequest
    message StatusResponse
      1 version: string
      2 pid: uint32
      3 running: uint32
      4 waiting: uint32
      5 sessions: uint32
      6 calls: uint64
      7 uptime_seconds: uint64
    ");
}

/// What a `.proto` file fixes.
fn described(name: &str) -> String {
    let descriptors = FileDescriptorSet::decode(ktx_protocol::DESCRIPTORS).unwrap();
    assert_eq!(descriptors.file.len(), 3);
    let file = descriptors.file.iter().find(|file| file.name() == name);
    let file = file.unwrap();
    let mut text = format!("package {}\n", file.package());
    for service in &file.service {
        describe_service(&mut text, service);
    }
    for number in &file.enum_type {
        describe_enum(&mut text, number);
    }
    for message in &file.message_type {
        describe_message(&mut text, message);
    }
    text
}

fn describe_service(text: &mut String, service: &ServiceDescriptorProto) {
    writeln!(text, "service {}", service.name()).unwrap();
    for method in &service.method {
        let stream = |is_stream| if is_stream { "stream " } else { "" };
        writeln!(
            text,
            "  {}({}{}) {}{}",
            method.name(),
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type(),
        )
        .unwrap();
    }
}

fn describe_enum(text: &mut String, number: &EnumDescriptorProto) {
    writeln!(text, "enum {}", number.name()).unwrap();
    for value in &number.value {
        writeln!(text, "  {} {}", value.number(), value.name()).unwrap();
    }
}

fn describe_message(text: &mut String, message: &DescriptorProto) {
    writeln!(text, "message {}", message.name()).unwrap();
    for field in &message.field {
        let number = field.number();
        let group = match field.oneof_index {
            Some(index) if !field.proto3_optional() => {
                let index = usize::try_from(index).unwrap();
                format!(" of {}", message.oneof_decl[index].name())
            }
            _ => String::new(),
        };
        writeln!(
            text,
            "  {number} {}: {}{group}",
            field.name(),
            kind(message, field)
        )
        .unwrap();
    }
}

/// The type of a field, as the `.proto` file writes it.
fn kind(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message => {
            let entry = message.nested_type.iter().find(|nested| {
                let is_map = |options: &MessageOptions| options.map_entry();
                let is_named = field.type_name().ends_with(&format!(".{}", nested.name()));
                is_named && nested.options.as_ref().is_some_and(is_map)
            });
            match entry {
                Some(entry) => {
                    let [key, value] = [0, 1].map(|index| kind(entry, &entry.field[index]));
                    return format!("map<{key}, {value}>");
                }
                None => field.type_name().to_owned(),
            }
        }
        Type::Enum => field.type_name().to_owned(),
        scalar => scalar.as_str_name()["TYPE_".len()..].to_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("repeated {name}"),
        _ if field.proto3_optional() => format!("optional {name}"),
        _ => name,
    }
}
