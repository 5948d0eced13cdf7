import type { FamilyRule } from '../families';

/**
 * Units that bear the name of a deploy form (`x.rbr_reparam.pw`) but are none that is known: modules of tensors in no block.
 *
 * @param keys that belong to no block
 * @returns their paths, in file order
 */
export function unrecognisedUnits(keys: readonly string[], rules: readonly FamilyRule[]): string[] {
  const evident = rules.filter(({ deployIsEvident }) => deployIsEvident);
  const names = new Set(evident.flatMap(({ deploy }) => deploy.weight.split('.').slice(0, -1)));
  const units = keys.filter((key) => key.split('.').some((name) => names.has(name)));
  return [...new Set(units.map((key) => key.split('.').slice(0, -1).join('.')))];
}
