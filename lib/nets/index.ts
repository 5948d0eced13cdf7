export type { NetName } from './architecture';
export { NET_NAMES, type Net, type NetFigures, type NetOptions, netFigures, netFromSeed, netGraph } from './nets';
