/** The package of each platform that a binary is built for (`npm run package`): in `require`s that bundlers see. */
const PACKAGES: Readonly<Record<string, () => unknown>> = {
  '@repfuse/linux-x64': () => require('@repfuse/linux-x64'),
};

/** Those of this machine (for either C library, of which npm installs the one that is there): name, and what loads it. */
export function platformPackages(): readonly (readonly [string, () => unknown])[] {
  const own = `@repfuse/${process.platform}-${process.arch}`;
  return Object.entries(PACKAGES).filter(([name]) => name === own || name === `${own}-musl`);
}
