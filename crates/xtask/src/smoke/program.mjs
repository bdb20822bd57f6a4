// Runs Python through the daemon, from an ES module.
import { PythonRuntime, getKtxCliPackageInfo } from 'PACKAGE';

const runtime = await PythonRuntime.ensure({ features: ['core'] });
const python = await runtime.connect();
const { value } = await python.execute('sum(range(10))', { timeoutMs: 60_000 });
await python.close();
console.log(JSON.stringify({ value, status: runtime.status, ...getKtxCliPackageInfo() }));
