/** The package of each platform that a binary is built for (`npm run package`): in `require`s that bundlers see. */
const PACKAGES: Readonly<Record<string, () => unknown>> = {
  '@repfuse/linux-x64': () => require('@repfuse/linux-x64'),
};

/** That of this machine, if there is one: its name, and what loads it. */
export function platformPackage(): { readonly name: string; readonly load: () => unknown } | undefined {
  const name = `@repfuse/${process.platform}-${process.arch}`;
  const load = PACKAGES[name];
  return load && { name, load };
}
