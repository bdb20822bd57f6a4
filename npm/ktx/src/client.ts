// What speaks to a daemon. It is a file of its own in the package: many commands need none of it, and
// Node parses a file whole.
export { callError } from './call-error.js';
export { RpcError, Status } from './grpc.js';
export { begun, pieces } from './python-events.js';
export {
  type Call,
  type ExecuteEvent,
  type ExecuteResponse,
  Form,
  PythonService,
} from './python-service.js';
export { failureOf, textOf } from './responses.js';
