// The same types, as a CommonJS program uses them.
import ktx = require('PACKAGE');

export async function sum(): Promise<number> {
  const runtime: ktx.PythonRuntime = await ktx.PythonRuntime.ensure();
  const python: ktx.PythonConnection = await runtime.connect();
  const { stdout } = await python.execute('sum(range(10))');
  await python.close();
  return stdout.length;
}

// @ts-expect-error: the version is required
void ktx.readManagedPythonRuntimeStatus({});
