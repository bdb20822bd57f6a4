// Who this package is. The build writes both facts in, which saves reading package.json.

/** Name and version of this package. */
export interface KtxCliPackageInfo {
  name: string;
  version: string;
}

/** Returns the name and version of this package. */
export function getKtxCliPackageInfo(): KtxCliPackageInfo {
  return { name: KTX_PACKAGE_NAME, version: KTX_PACKAGE_VERSION };
}
