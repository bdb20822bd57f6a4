// Generates src/generated/: the messages of `ktx.v1` as functions and types, and the paths of the
// methods that the client calls. Nothing but the .proto files says what a field is called.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { argv, exit } from 'node:process';
import { fileURLToPath } from 'node:url';
import { compileRaw } from 'pbf/compile';
import { sync as parse } from 'resolve-protobuf-schema';

const root = dirname(fileURLToPath(import.meta.url));
const protos = join(root, '../../crates/ktx-protocol/proto');

const SCALARS = {
  bool: 'boolean',
  bytes: 'Uint8Array | undefined',
  double: 'number',
  int32: 'number',
  string: 'string',
  uint32: 'number',
  uint64: 'number',
};

/** The generated files by their path below the package. */
export function generate() {
  const python = parse(join(protos, 'ktx/v1/python.proto'));
  const domain = parse(join(protos, 'protocol/domain.proto'));
  const services = [python, domain].flatMap(paths);
  const code = [
    '// Generated from crates/ktx-protocol/proto by protocol.mjs.',
    '/* oxlint-disable no-unused-vars */',
    ...services.map(({ name, text }) => `export const ${name} = ${text};`),
    compileRaw(python, { dev: true }).trim(),
  ];
  const types = [
    '// Generated from crates/ktx-protocol/proto by protocol.mjs.',
    "import type { PbfReader, PbfWriter } from 'pbf';",
    'type Sparse<M> = { [K in keyof M]?: M[K] | undefined };',
    ...services.map(({ name, text }) => `export declare const ${name}: ${text};`),
    ...python.enums.map(
      ({ name, values }) =>
        `export declare const ${name}: { ${Object.entries(values)
          .map(([value, { value: number }]) => `${value}: ${number}`)
          .join('; ')} };`,
    ),
    ...python.messages.flatMap((message) => typesOf(message, python.messages)),
  ];
  return {
    'src/generated/protocol.js': `${code.join('\n')}\n`,
    'src/generated/protocol.d.ts': `${types.join('\n')}\n`,
  };
}

function paths({ package: scope, services }) {
  return services.map(({ name, methods }) => {
    const entries = methods.map((method) => `${method.name}: '/${scope}.${name}/${method.name}'`);
    return { name, text: `{ ${entries.join(', ')} }` };
  });
}

function typesOf({ name, fields }, messages) {
  const members = fields.map((field) => `  ${field.name}: ${typeOf(field, messages)};`);
  return [
    `export interface ${name} {\n${members.join('\n')}\n}`,
    `export function read${name}(reader: PbfReader, end?: number): ${name};`,
    `export function write${name}(message: Sparse<${name}>, writer: PbfWriter): void;`,
  ];
}

function typeOf({ type, map, repeated }, messages) {
  if (map) return `Record<${SCALARS[map.from]}, ${SCALARS[map.to]}>`;
  const isMessage = messages.some(({ name }) => name === type);
  if (repeated) return `${isMessage ? type : SCALARS[type]}[]`;
  return isMessage ? `${type} | undefined` : (SCALARS[type] ?? 'number');
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of Object.entries(generate())) {
    if (!argv.includes('--check')) writeFileSync(join(root, path), text);
    else if (readFileSync(join(root, path), 'utf8') !== text) {
      console.error(`\`${path}\` is not what the .proto files say; write it with: npm run protocol`);
      exit(1);
    }
  }
}
