export type { NetName } from './architecture';
export type { NetNaming } from './key-names';
export type { NetForm } from './net-graph';
export {
  NET_NAMES,
  type Net,
  type NetFigures,
  type NetOptions,
  netFigures,
  netFromSeed,
  netGraph,
  type SeedOptions,
} from './nets';
