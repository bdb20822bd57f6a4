// What every call of the addon needs: its options as it takes them, and one class of error.
import type * as Native from '../native.js';
import { type Addon, loadAddon } from './addon.js';
import { toKtxError } from './errors.js';
import type { RuntimeOptions } from './types.js';

/** What a callback of the caller threw, which is passed on as it is. */
export class CallbackFailure extends Error {
  readonly thrown: unknown;

  constructor(thrown: unknown) {
    super('A callback threw');
    this.thrown = thrown;
  }
}

/** Calls the addon; whatever it throws becomes a {@link KtxError}. */
export async function callAddon<T>(work: (addon: Addon) => Promise<T>): Promise<T> {
  try {
    return await work(loadAddon());
  } catch (error) {
    throw error instanceof CallbackFailure ? error.thrown : toKtxError(error);
  }
}

/** The options of the addon that say which runtime is meant. */
export function layoutOptions(addon: Addon, options: RuntimeOptions): Native.LayoutOptions {
  const { cliVersion, platform, homeDir, runtimeRoot, assetDir } = options;
  return defined({
    cliVersion,
    platform,
    homeDir,
    runtimeRoot,
    assetDir,
    env: defined({ ...(options.env ?? process.env) }),
    defaultAssetDir: addon.assetDir,
  });
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** The keys that have a value: the addon tells an absent key from a wrong one. */
export function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
}
