import type { Architecture, NetBlock } from './architecture';

/** How a code base names the tensors of a network. */
export interface KeyNames {
  readonly stem: string;
  /** Key prefixes, from 0. */
  readonly block: (stage: number, index: number) => string;
  /** The i-th KxK branch: with `.conv.weight` and `.bn.*`. */
  readonly branch: (index: number) => string;
  readonly scale: string;
  /** A BatchNorm. */
  readonly identity: string;
  /** With `.weight` and `.bias`. */
  readonly deploy: string;
  readonly squeezeExcite: readonly [reduce: string, expand: string];
  readonly head: string;
}

/** `native`: the authors' own names. */
export type NetNaming = 'native' | 'timm';

const TIMM = {
  stem: 'stem',
  block: (stage: number, index: number) => `stages.${stage}.${index}`,
  identity: 'identity',
  deploy: 'reparam_conv',
  squeezeExcite: ['attn.fc1', 'attn.fc2'],
  head: 'head.fc',
} as const;
const OWN = {
  stem: 'stage0',
  block: (stage: number, index: number) => `stage${stage + 1}.${index}`,
  head: 'linear',
} as const;

export const KEY_NAMES: Readonly<Record<Architecture['family'], Readonly<Record<NetNaming, KeyNames>>>> = {
  repvgg: {
    native: {
      ...OWN,
      branch: () => 'rbr_dense',
      scale: 'rbr_1x1',
      identity: 'rbr_identity',
      deploy: 'rbr_reparam',
      squeezeExcite: ['se.down', 'se.up'],
    },
    timm: { ...TIMM, branch: () => 'conv_kxk', scale: 'conv_1x1' },
  },
  mobileone: {
    native: {
      ...OWN,
      branch: (index) => `rbr_conv.${index}`,
      scale: 'rbr_scale',
      identity: 'rbr_skip',
      deploy: 'reparam_conv',
      squeezeExcite: ['se.reduce', 'se.expand'],
    },
    timm: { ...TIMM, branch: (index) => `conv_kxk.${index}`, scale: 'conv_scale' },
  },
};

/** Key prefix of a block. */
export function prefixOf({ place }: NetBlock, names: KeyNames): string {
  return place === null ? names.stem : names.block(...place);
}
