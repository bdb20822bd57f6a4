// Generated from crates/ktx-protocol/proto by protocol.mjs.
/* oxlint-disable no-unused-vars */
export const Python = { Execute: '/ktx.v1.Python/Execute', ExecuteStream: '/ktx.v1.Python/ExecuteStream', Cancel: '/ktx.v1.Python/Cancel', OpenSession: '/ktx.v1.Python/OpenSession', CloseSession: '/ktx.v1.Python/CloseSession', ListSessions: '/ktx.v1.Python/ListSessions', Status: '/ktx.v1.Python/Status' };
export const DomainPluginService = { Metadata: '/protocol.DomainPluginService/Metadata', Initialize: '/protocol.DomainPluginService/Initialize', Health: '/protocol.DomainPluginService/Health', Shutdown: '/protocol.DomainPluginService/Shutdown' };
export const Form = {
    "FORM_JSON": 0,
    "FORM_MSGPACK": 1,
    "FORM_REPR": 2
};

export function readExecuteRequest(pbf, end) {
    const obj = {code: "", filename: "", args: [], upstream: undefined, upstream_form: 0, timeout_ms: 0, cwd: "", env: {}, form: 0, session: "", session_id: "", call_id: "", max_output_bytes: 0, max_memory_bytes: 0};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.code = pbf.readString();
        else if (field === 2) obj.filename = pbf.readString();
        else if (field === 3) obj.args.push(pbf.readString());
        else if (field === 4) obj.upstream = pbf.readBytes();
        else if (field === 5) obj.upstream_form = pbf.readVarint();
        else if (field === 6) obj.timeout_ms = pbf.readVarint();
        else if (field === 7) obj.cwd = pbf.readString();
        else if (field === 8) { const {key, value} = readExecuteRequestEnvEntry(pbf, pbf.readVarint() + pbf.pos); obj.env[key] = value; }
        else if (field === 9) obj.form = pbf.readVarint();
        else if (field === 10) obj.session = pbf.readString();
        else if (field === 11) obj.session_id = pbf.readString();
        else if (field === 12) obj.call_id = pbf.readString();
        else if (field === 13) obj.max_output_bytes = pbf.readVarint();
        else if (field === 14) obj.max_memory_bytes = pbf.readVarint();
    }
    return obj;
}
export function writeExecuteRequest(obj, pbf) {
    if (obj.code) pbf.writeStringField(1, obj.code);
    if (obj.filename) pbf.writeStringField(2, obj.filename);
    if (obj.args) for (const item of obj.args) pbf.writeStringField(3, item);
    if (obj.upstream != null) pbf.writeBytesField(4, obj.upstream);
    if (obj.upstream_form) pbf.writeVarintField(5, obj.upstream_form);
    if (obj.timeout_ms) pbf.writeVarintField(6, obj.timeout_ms);
    if (obj.cwd) pbf.writeStringField(7, obj.cwd);
    if (obj.env) for (const key of Object.keys(obj.env)) pbf.writeMessage(8, writeExecuteRequestEnvEntry, {key, value: obj.env[key]});
    if (obj.form) pbf.writeVarintField(9, obj.form);
    if (obj.session) pbf.writeStringField(10, obj.session);
    if (obj.session_id) pbf.writeStringField(11, obj.session_id);
    if (obj.call_id) pbf.writeStringField(12, obj.call_id);
    if (obj.max_output_bytes) pbf.writeVarintField(13, obj.max_output_bytes);
    if (obj.max_memory_bytes) pbf.writeVarintField(14, obj.max_memory_bytes);
}

export function readExecuteRequestEnvEntry(pbf, end) {
    const obj = {key: "", value: ""};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.key = pbf.readString();
        else if (field === 2) obj.value = pbf.readString();
    }
    return obj;
}
export function writeExecuteRequestEnvEntry(obj, pbf) {
    if (obj.key) pbf.writeStringField(1, obj.key);
    if (obj.value) pbf.writeStringField(2, obj.value);
}

export function readExecuteResponse(pbf, end) {
    const obj = {success: false, value: undefined, stdout: undefined, stderr: undefined, error: undefined, duration_ms: 0, output_truncated: false};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.success = pbf.readBoolean();
        else if (field === 2) obj.value = pbf.readBytes();
        else if (field === 3) obj.stdout = pbf.readBytes();
        else if (field === 4) obj.stderr = pbf.readBytes();
        else if (field === 5) obj.error = readFailure(pbf, pbf.readVarint() + pbf.pos);
        else if (field === 6) obj.duration_ms = pbf.readDouble();
        else if (field === 7) obj.output_truncated = pbf.readBoolean();
    }
    return obj;
}
export function writeExecuteResponse(obj, pbf) {
    if (obj.success) pbf.writeBooleanField(1, obj.success);
    if (obj.value != null) pbf.writeBytesField(2, obj.value);
    if (obj.stdout != null) pbf.writeBytesField(3, obj.stdout);
    if (obj.stderr != null) pbf.writeBytesField(4, obj.stderr);
    if (obj.error) pbf.writeMessage(5, writeFailure, obj.error);
    if (obj.duration_ms) pbf.writeDoubleField(6, obj.duration_ms);
    if (obj.output_truncated) pbf.writeBooleanField(7, obj.output_truncated);
}

export function readFailure(pbf, end) {
    const obj = {kind: "", message: "", traceback: "", exit_status: 0, signal: 0};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.kind = pbf.readString();
        else if (field === 2) obj.message = pbf.readString();
        else if (field === 3) obj.traceback = pbf.readString();
        else if (field === 4) obj.exit_status = pbf.readVarint(true);
        else if (field === 5) obj.signal = pbf.readVarint(true);
    }
    return obj;
}
export function writeFailure(obj, pbf) {
    if (obj.kind) pbf.writeStringField(1, obj.kind);
    if (obj.message) pbf.writeStringField(2, obj.message);
    if (obj.traceback) pbf.writeStringField(3, obj.traceback);
    if (obj.exit_status) pbf.writeVarintField(4, obj.exit_status);
    if (obj.signal) pbf.writeVarintField(5, obj.signal);
}

export function readExecuteEvent(pbf, end) {
    const obj = {stdout: undefined, event: undefined, stderr: undefined, outcome: undefined};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) { obj.stdout = pbf.readBytes(); obj.event = "stdout"; }
        else if (field === 2) { obj.stderr = pbf.readBytes(); obj.event = "stderr"; }
        else if (field === 3) { obj.outcome = readExecuteResponse(pbf, pbf.readVarint() + pbf.pos); obj.event = "outcome"; }
    }
    return obj;
}
export function writeExecuteEvent(obj, pbf) {
    if (obj.stdout != null) pbf.writeBytesField(1, obj.stdout);
    if (obj.stderr != null) pbf.writeBytesField(2, obj.stderr);
    if (obj.outcome) pbf.writeMessage(3, writeExecuteResponse, obj.outcome);
}

export function readCancelRequest(pbf, end) {
    const obj = {call_id: ""};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.call_id = pbf.readString();
    }
    return obj;
}
export function writeCancelRequest(obj, pbf) {
    if (obj.call_id) pbf.writeStringField(1, obj.call_id);
}

export function readCancelResponse(pbf, end) {
    const obj = {found: false};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.found = pbf.readBoolean();
    }
    return obj;
}
export function writeCancelResponse(obj, pbf) {
    if (obj.found) pbf.writeBooleanField(1, obj.found);
}

export function readOpenSessionRequest(pbf, end) {
    const obj = {name: ""};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.name = pbf.readString();
    }
    return obj;
}
export function writeOpenSessionRequest(obj, pbf) {
    if (obj.name) pbf.writeStringField(1, obj.name);
}

export function readSession(pbf, end) {
    const obj = {name: "", id: "", created: false, calls: 0, busy: false};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.name = pbf.readString();
        else if (field === 2) obj.id = pbf.readString();
        else if (field === 3) obj.created = pbf.readBoolean();
        else if (field === 4) obj.calls = pbf.readVarint();
        else if (field === 5) obj.busy = pbf.readBoolean();
    }
    return obj;
}
export function writeSession(obj, pbf) {
    if (obj.name) pbf.writeStringField(1, obj.name);
    if (obj.id) pbf.writeStringField(2, obj.id);
    if (obj.created) pbf.writeBooleanField(3, obj.created);
    if (obj.calls) pbf.writeVarintField(4, obj.calls);
    if (obj.busy) pbf.writeBooleanField(5, obj.busy);
}

export function readCloseSessionRequest(pbf, end) {
    const obj = {name: "", id: ""};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.name = pbf.readString();
        else if (field === 2) obj.id = pbf.readString();
    }
    return obj;
}
export function writeCloseSessionRequest(obj, pbf) {
    if (obj.name) pbf.writeStringField(1, obj.name);
    if (obj.id) pbf.writeStringField(2, obj.id);
}

export function readCloseSessionResponse(pbf, end) {
    const obj = {found: false};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.found = pbf.readBoolean();
    }
    return obj;
}
export function writeCloseSessionResponse(obj, pbf) {
    if (obj.found) pbf.writeBooleanField(1, obj.found);
}

export function readListSessionsRequest(pbf, end) {
    pbf.pos = end;
    return {};
}
export function writeListSessionsRequest(obj, pbf) {}

export function readListSessionsResponse(pbf, end) {
    const obj = {sessions: []};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.sessions.push(readSession(pbf, pbf.readVarint() + pbf.pos));
    }
    return obj;
}
export function writeListSessionsResponse(obj, pbf) {
    if (obj.sessions) for (const item of obj.sessions) pbf.writeMessage(1, writeSession, item);
}

export function readStatusRequest(pbf, end) {
    pbf.pos = end;
    return {};
}
export function writeStatusRequest(obj, pbf) {}

export function readStatusResponse(pbf, end) {
    const obj = {version: "", pid: 0, running: 0, waiting: 0, sessions: 0, calls: 0, uptime_seconds: 0};
    let field;
    while ((field = pbf.nextField(end))) {
        if (field === 1) obj.version = pbf.readString();
        else if (field === 2) obj.pid = pbf.readVarint();
        else if (field === 3) obj.running = pbf.readVarint();
        else if (field === 4) obj.waiting = pbf.readVarint();
        else if (field === 5) obj.sessions = pbf.readVarint();
        else if (field === 6) obj.calls = pbf.readVarint();
        else if (field === 7) obj.uptime_seconds = pbf.readVarint();
    }
    return obj;
}
export function writeStatusResponse(obj, pbf) {
    if (obj.version) pbf.writeStringField(1, obj.version);
    if (obj.pid) pbf.writeVarintField(2, obj.pid);
    if (obj.running) pbf.writeVarintField(3, obj.running);
    if (obj.waiting) pbf.writeVarintField(4, obj.waiting);
    if (obj.sessions) pbf.writeVarintField(5, obj.sessions);
    if (obj.calls) pbf.writeVarintField(6, obj.calls);
    if (obj.uptime_seconds) pbf.writeVarintField(7, obj.uptime_seconds);
}
