// A daemon for the tests of its clients: the real protocol, spoken by the gRPC project's own server,
// with answers that each test gives.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Server as SocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type GrpcObject,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type ServiceError,
  type sendUnaryData,
  loadPackageDefinition,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { onTestFinished } from 'vitest';
import { Channel } from '../src/grpc.js';
import type { DaemonAccess } from '../src/daemon-types.js';

const PROTOS = join(import.meta.dirname, '../../../crates/ktx-protocol/proto');

const definition = loadSync(['ktx/v1/python.proto', 'protocol/domain.proto'], {
  includeDirs: [PROTOS],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
});
const { ktx } = loadPackageDefinition(definition) as { ktx: { v1: GrpcObject } } & GrpcObject;
const { service } = ktx.v1['Python'] as ServiceClientConstructor;

export { status };

/** A request as the server reads it. */
export type Message = Record<string, any>;
export type Unary = ServerUnaryCall<Message, Message>;
export type Streaming = ServerWritableStream<Message, Message>;

/** Answers by the name of the method: a reply or an error for a unary one, writes for a stream. */
export interface Answers {
  Execute?: (call: Unary) => Message | Promise<Message>;
  ExecuteStream?: (call: Streaming) => void;
  Cancel?: (call: Unary) => Message | Promise<Message>;
  OpenSession?: (call: Unary) => Message;
  CloseSession?: (call: Unary) => Message;
  ListSessions?: (call: Unary) => Message;
}

export interface FakeDaemon {
  access: DaemonAccess;
  /** Ends it as a crash does. */
  kill(): void;
}

/** An error with a status of gRPC. */
export function refusal(code: status, details: string): Partial<ServiceError> {
  return Object.assign(new Error(details), { code, details });
}

/** A path for a socket, which must be short and plain. */
export function socketPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'ktx-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 's.sock');
}

/** Starts a daemon that answers as told until the test is over. */
export async function fakeDaemon(answers: Answers, path = socketPath()): Promise<FakeDaemon> {
  const access = { endpoint: `unix:${path}`, token: Math.random().toString(16).slice(2) };
  const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
  const unary =
    (name: Exclude<keyof Answers, 'ExecuteStream'>) =>
    async (call: Unary, reply: sendUnaryData<Message>): Promise<void> => {
      try {
        checkToken(call.metadata.get('authorization'), access);
        const answer = answers[name];
        if (answer === undefined) throw refusal(status.UNIMPLEMENTED, name);
        reply(null, await answer(call));
      } catch (error) {
        reply(error as ServiceError);
      }
    };
  server.addService(service, {
    Execute: unary('Execute'),
    ExecuteStream(call: Streaming) {
      answers.ExecuteStream?.(call);
    },
    Cancel: unary('Cancel'),
    OpenSession: unary('OpenSession'),
    CloseSession: unary('CloseSession'),
    ListSessions: unary('ListSessions'),
    Status: () => {},
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(access.endpoint, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  const kill = (): void => {
    server.forceShutdown();
    rmSync(path, { force: true });
  };
  onTestFinished(kill);
  return { access, kill };
}

function checkToken([given]: unknown[], { token }: DaemonAccess): void {
  if (given !== `Bearer ${token}`) throw refusal(status.UNAUTHENTICATED, 'No valid token');
}

/** Has a server listen, and returns a channel to it. Both end with the test. */
export async function channelTo(server: SocketServer): Promise<Channel> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const channel = new Channel({ endpoint: `127.0.0.1:${port}`, token: '' });
  onTestFinished(() => {
    channel.close();
    server.close();
  });
  return channel;
}
