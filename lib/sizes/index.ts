export { evaluate, type OpenSizes, openSizes } from './evaluate';
export { isMet, requiredMultiple } from './fit';
export * from './shape';
export * from './size';
