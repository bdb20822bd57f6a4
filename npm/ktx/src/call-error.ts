// What a call means to its caller that has no outcome.
import { KtxError, abortedError } from './errors.js';
import { RpcError, Status } from './grpc.js';
import type { PythonService } from './python-service.js';

const CODES: Record<number, string> = {
  [Status.cancelled]: 'KTX_ABORTED',
  [Status.invalidArgument]: 'KTX_USAGE',
  [Status.outOfRange]: 'KTX_USAGE',
  [Status.deadlineExceeded]: 'KTX_EXEC_TIMEOUT',
  [Status.resourceExhausted]: 'KTX_BUSY',
  [Status.failedPrecondition]: 'KTX_SESSION_LOST',
  [Status.permissionDenied]: 'KTX_DAEMON_UNREACHABLE',
  [Status.unauthenticated]: 'KTX_DAEMON_UNREACHABLE',
  [Status.unimplemented]: 'KTX_DAEMON_UNREACHABLE',
};

/** The error that a call ends with when it has no outcome. */
export async function callError(
  thrown: unknown,
  service: PythonService,
  signal?: AbortSignal,
): Promise<unknown> {
  if (!(thrown instanceof RpcError)) return thrown;
  if (signal?.aborted) return abortedError(signal, 'The execution');
  const { endpoint } = service.access;
  const { status, accepted, message } = thrown;
  const details = { endpoint };
  // A daemon that ends cancels its calls first, and says so a little later.
  if (status === Status.cancelled) await service.look();
  if (accepted && (status === Status.unavailable || (status === Status.cancelled && !service.isOpen))) {
    return new KtxError(
      'KTX_DAEMON_LOST',
      `The daemon at ${endpoint} ended while the call was on its way: ${message}`,
      { details, cause: thrown },
    );
  }
  if (status === Status.unavailable) {
    return new KtxError('KTX_DAEMON_UNREACHABLE', `The daemon at ${endpoint} cannot be used: ${message}`, {
      hint: 'Run: ktx runtime start --force',
      details,
      cause: thrown,
    });
  }
  const code = CODES[status] ?? 'KTX_EXEC_FAILED';
  const hint = code === 'KTX_DAEMON_UNREACHABLE' ? 'Run: ktx runtime start --force' : undefined;
  return new KtxError(code, message, { hint, details, cause: thrown });
}
