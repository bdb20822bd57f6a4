// What speaks to a daemon. It is a file of its own in the package: most commands need none of it, and
// Node parses a file whole.
export { callError, failureOf, textOf } from './calls.js';
export { PythonConnection } from './connection.js';
export { RpcError } from './grpc.js';
export { pieces } from './python-events.js';
export { type Call, type ExecuteResponse, Form, PythonService } from './python-service.js';
