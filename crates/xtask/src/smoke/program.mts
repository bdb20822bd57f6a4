// The types that the package ships with, as a program uses them.
import { type ExecuteResult, KtxError, PythonRuntime } from 'PACKAGE';

export async function sum(count: number): Promise<unknown> {
  const runtime: PythonRuntime = await PythonRuntime.ensure({ features: ['core'] });
  try {
    const result: ExecuteResult = await runtime.execute('sum(range(upstream))', { upstream: count });
    return result.value;
  } catch (error) {
    if (error instanceof KtxError) error.code.startsWith('KTX_');
    throw error;
  }
}

// @ts-expect-error: there is no such feature
void PythonRuntime.ensure({ features: ['nonsense'] });
