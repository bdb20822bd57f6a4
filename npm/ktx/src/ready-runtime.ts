// What commands do that need a runtime: use the one that is there, or install it if that was agreed to.
import { KtxError } from './errors.js';
import { type KtxIo, canAsk } from './io.js';
import { type KtxRuntimeDeps, installFeature, readStatus } from './runtime-commands.js';
import type { RuntimeFeature, RuntimeManifest, RuntimeStatus } from './types.js';

/** What a command needs, and what it may do about it. */
export interface WantedRuntime {
  cliVersion: string;
  feature: RuntimeFeature;
  /** Install without asking. */
  yes: boolean;
  /** `false` if nobody may be asked. */
  input: boolean;
}

/** Returns the manifest of the runtime, which is installed first if it has to be and may be. */
export async function readyRuntime(
  wanted: WantedRuntime,
  io: KtxIo,
  deps: KtxRuntimeDeps,
): Promise<RuntimeManifest> {
  const { cliVersion, feature } = wanted;
  const found = await readStatus(cliVersion, deps);
  const { manifest } = found;
  if (found.kind === 'ready' && manifest?.features.includes(feature) === true) return manifest;
  await agreeToInstall(wanted, found, io);
  return (await installFeature({ cliVersion, feature, force: false }, io, deps)).manifest;
}

async function agreeToInstall(
  { feature, yes, input }: WantedRuntime,
  found: RuntimeStatus,
  io: KtxIo,
): Promise<void> {
  if (yes) return;
  const problem =
    found.kind === 'ready'
      ? `The Python runtime is installed without ${feature}`
      : `The Python runtime is ${found.kind}`;
  if (input && canAsk(io)) {
    const { confirmInstall } = await import('./prompts.js');
    if (await confirmInstall(problem, io)) return;
  }
  const flag = feature === 'core' ? '' : ` --feature ${feature}`;
  throw new KtxError(
    'KTX_RUNTIME_MISSING',
    found.kind === 'ready' ? problem : `${problem}: ${found.detail}`,
    { hint: `Run: ktx runtime install${flag} --yes` },
  );
}
