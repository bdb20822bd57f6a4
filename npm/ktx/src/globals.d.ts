// The build writes these into the bundle, so that no start has to read package.json.

/** Name of the npm package. */
declare const KTX_PACKAGE_NAME: string;
/** Version of the npm package. */
declare const KTX_PACKAGE_VERSION: string;
