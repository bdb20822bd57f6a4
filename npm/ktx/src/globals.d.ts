// The build writes these into the bundle, so that no start has to find out what the build knows.

/** Name of the npm package. */
declare const KTX_PACKAGE_NAME: string;
/** Version of the npm package. */
declare const KTX_PACKAGE_VERSION: string;
/**
 * What parsing gives for the command lines that programs run most, by their words joined with NUL.
 * The build gets it from the parser itself: loading the parser takes longer than these commands do.
 */
declare const KTX_PARSED: {
  runtime: Record<string, import('./runtime-commands.js').KtxRuntimeArgs>;
  /** With nothing where the code of `-c` stands. */
  exec: Record<string, import('./exec-command.js').ExecArgs>;
};
