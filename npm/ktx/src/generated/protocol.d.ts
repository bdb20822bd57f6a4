// Generated from crates/ktx-protocol/proto by protocol.mjs.
import type { PbfReader, PbfWriter } from 'pbf';
type Sparse<M> = { [K in keyof M]?: M[K] | undefined };
export declare const Python: { Execute: '/ktx.v1.Python/Execute', ExecuteStream: '/ktx.v1.Python/ExecuteStream', Cancel: '/ktx.v1.Python/Cancel', OpenSession: '/ktx.v1.Python/OpenSession', CloseSession: '/ktx.v1.Python/CloseSession', ListSessions: '/ktx.v1.Python/ListSessions', Status: '/ktx.v1.Python/Status' };
export declare const DomainPluginService: { Metadata: '/protocol.DomainPluginService/Metadata', Initialize: '/protocol.DomainPluginService/Initialize', Health: '/protocol.DomainPluginService/Health', Shutdown: '/protocol.DomainPluginService/Shutdown' };
export declare const Form: { FORM_JSON: 0; FORM_MSGPACK: 1; FORM_REPR: 2 };
export interface ExecuteRequest {
  code: string;
  filename: string;
  args: string[];
  upstream: Uint8Array | undefined;
  upstream_form: number;
  timeout_ms: number;
  cwd: string;
  env: Record<string, string>;
  form: number;
  session: string;
  session_id: string;
  call_id: string;
  max_output_bytes: number;
  max_memory_bytes: number;
}
export function readExecuteRequest(reader: PbfReader, end?: number): ExecuteRequest;
export function writeExecuteRequest(message: Sparse<ExecuteRequest>, writer: PbfWriter): void;
export interface ExecuteResponse {
  success: boolean;
  value: Uint8Array | undefined;
  stdout: Uint8Array | undefined;
  stderr: Uint8Array | undefined;
  error: Failure | undefined;
  duration_ms: number;
  output_truncated: boolean;
}
export function readExecuteResponse(reader: PbfReader, end?: number): ExecuteResponse;
export function writeExecuteResponse(message: Sparse<ExecuteResponse>, writer: PbfWriter): void;
export interface Failure {
  kind: string;
  message: string;
  traceback: string;
  exit_status: number;
  signal: number;
}
export function readFailure(reader: PbfReader, end?: number): Failure;
export function writeFailure(message: Sparse<Failure>, writer: PbfWriter): void;
export interface ExecuteEvent {
  stdout: Uint8Array | undefined;
  stderr: Uint8Array | undefined;
  outcome: ExecuteResponse | undefined;
}
export function readExecuteEvent(reader: PbfReader, end?: number): ExecuteEvent;
export function writeExecuteEvent(message: Sparse<ExecuteEvent>, writer: PbfWriter): void;
export interface CancelRequest {
  call_id: string;
}
export function readCancelRequest(reader: PbfReader, end?: number): CancelRequest;
export function writeCancelRequest(message: Sparse<CancelRequest>, writer: PbfWriter): void;
export interface CancelResponse {
  found: boolean;
}
export function readCancelResponse(reader: PbfReader, end?: number): CancelResponse;
export function writeCancelResponse(message: Sparse<CancelResponse>, writer: PbfWriter): void;
export interface OpenSessionRequest {
  name: string;
}
export function readOpenSessionRequest(reader: PbfReader, end?: number): OpenSessionRequest;
export function writeOpenSessionRequest(message: Sparse<OpenSessionRequest>, writer: PbfWriter): void;
export interface Session {
  name: string;
  id: string;
  created: boolean;
  calls: number;
  busy: boolean;
}
export function readSession(reader: PbfReader, end?: number): Session;
export function writeSession(message: Sparse<Session>, writer: PbfWriter): void;
export interface CloseSessionRequest {
  name: string;
  id: string;
}
export function readCloseSessionRequest(reader: PbfReader, end?: number): CloseSessionRequest;
export function writeCloseSessionRequest(message: Sparse<CloseSessionRequest>, writer: PbfWriter): void;
export interface CloseSessionResponse {
  found: boolean;
}
export function readCloseSessionResponse(reader: PbfReader, end?: number): CloseSessionResponse;
export function writeCloseSessionResponse(message: Sparse<CloseSessionResponse>, writer: PbfWriter): void;
export interface ListSessionsRequest {

}
export function readListSessionsRequest(reader: PbfReader, end?: number): ListSessionsRequest;
export function writeListSessionsRequest(message: Sparse<ListSessionsRequest>, writer: PbfWriter): void;
export interface ListSessionsResponse {
  sessions: Session[];
}
export function readListSessionsResponse(reader: PbfReader, end?: number): ListSessionsResponse;
export function writeListSessionsResponse(message: Sparse<ListSessionsResponse>, writer: PbfWriter): void;
export interface StatusRequest {

}
export function readStatusRequest(reader: PbfReader, end?: number): StatusRequest;
export function writeStatusRequest(message: Sparse<StatusRequest>, writer: PbfWriter): void;
export interface StatusResponse {
  version: string;
  pid: number;
  running: number;
  waiting: number;
  sessions: number;
  calls: number;
  uptime_seconds: number;
}
export function readStatusResponse(reader: PbfReader, end?: number): StatusResponse;
export function writeStatusResponse(message: Sparse<StatusResponse>, writer: PbfWriter): void;
