// Runs Python through the daemon, from a CommonJS module.
const { PythonRuntime, getKtxCliPackageInfo } = require('PACKAGE');

async function main() {
  const runtime = await PythonRuntime.ensure({ features: ['core'] });
  const python = await runtime.connect();
  const { value } = await python.execute('sum(range(10))', { timeoutMs: 60_000 });
  await python.close();
  console.log(JSON.stringify({ value, status: runtime.status, ...getKtxCliPackageInfo() }));
}

main();
