/** One re-parameterizable block: branches of KxK convolution and BatchNorm, one of 1x1, one of BatchNorm alone, summed. */
export interface NetBlock {
  /** Stage and place in it; null for the stem. */
  readonly place: readonly [stage: number, index: number] | null;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: 1 | 3;
  readonly stride: 1 | 2;
  readonly groups: number;
  /** KxK branches. */
  readonly branches: number;
  readonly squeezeExcite: boolean;
}

/** A network of such blocks, then global average pooling and a linear layer. */
export interface Architecture {
  readonly family: 'repvgg' | 'mobileone';
  /** Height and width that it was trained on. */
  readonly imageSize: number;
  readonly blocks: readonly NetBlock[];
}

/** The 1x1 branch beside KxK ones. */
export const hasScale = ({ kernel }: NetBlock): boolean => kernel > 1;
export const hasIdentity = ({ inChannels, outChannels, stride }: NetBlock): boolean =>
  inChannels === outChannels && stride === 1;
/** Channels in the middle of squeeze-excite. */
export const squeezedChannels = ({ outChannels }: NetBlock): number => Math.floor(outChannels / 16);

/** RepVGG (Ding et al., CVPR 2021), table 2: widths 64a, 64a, 128a, 256a, 512b. */
function repVgg(
  depths: readonly number[],
  a: number,
  b: number,
  options: { readonly groups?: number; readonly squeezeExcite?: boolean; readonly imageSize?: number } = {},
): Architecture {
  const { groups = 1, squeezeExcite = false, imageSize = 224 } = options;
  const blocks: NetBlock[] = [];
  const add = (place: NetBlock['place'], outChannels: number, stride: 1 | 2) => {
    const inChannels = blocks.at(-1)?.outChannels ?? 3;
    // Every second layer of the grouped variants, up to the 26th.
    const grouped = blocks.length > 0 && blocks.length % 2 === 0 && blocks.length <= 26;
    blocks.push({
      place,
      inChannels,
      outChannels,
      kernel: 3,
      stride,
      groups: grouped ? groups : 1,
      branches: 1,
      squeezeExcite,
    });
  };
  add(null, Math.min(64, 64 * a), 2);
  [64 * a, 128 * a, 256 * a, 512 * b].forEach((width, stage) => {
    for (let i = 0; i < depths[stage]!; i++) add([stage, i], width, i === 0 ? 2 : 1);
  });
  return { family: 'repvgg', imageSize, blocks };
}

/** MobileOne (Vasu et al., CVPR 2023), table 2: pairs of depthwise 3x3 and 1x1; widths 64, 128, 256, 512 times the factors. */
function mobileOne(
  factors: readonly number[],
  options: { readonly branches?: number; readonly squeezeExcite?: boolean } = {},
): Architecture {
  const { branches = 1, squeezeExcite = false } = options;
  const stem = Math.min(64, 64 * factors[0]!);
  const blocks: NetBlock[] = [
    {
      place: null,
      inChannels: 3,
      outChannels: stem,
      kernel: 3,
      stride: 2,
      groups: 1,
      branches: 1,
      squeezeExcite: false,
    },
  ];
  let channels = stem;
  [2, 8, 10, 1].forEach((pairs, stage) => {
    const width = [64, 128, 256, 512][stage]! * factors[stage]!;
    for (let pair = 0; pair < pairs; pair++) {
      // The last five pairs of the third stage, and the fourth.
      const own = { branches, squeezeExcite: squeezeExcite && (stage === 3 || (stage === 2 && pair >= pairs - 5)) };
      const inChannels = channels;
      blocks.push(
        {
          place: [stage, 2 * pair],
          inChannels,
          outChannels: inChannels,
          kernel: 3,
          stride: pair === 0 ? 2 : 1,
          groups: inChannels,
          ...own,
        },
        { place: [stage, 2 * pair + 1], inChannels, outChannels: width, kernel: 1, stride: 1, groups: 1, ...own },
      );
      channels = width;
    }
  });
  return { family: 'mobileone', imageSize: 224, blocks };
}

const A = [2, 4, 14, 1];
const B = [4, 6, 16, 1];

export type NetName =
  | `repvgg_a${0 | 1 | 2}`
  | `repvgg_b${0 | 1 | 2 | 3}`
  | `repvgg_b${1 | 2 | 3}g${2 | 4}`
  | 'repvgg_d2se'
  | `mobileone_s${0 | 1 | 2 | 3 | 4}`;

export const ARCHITECTURES: Readonly<Record<NetName, Architecture>> = {
  repvgg_a0: repVgg(A, 0.75, 2.5),
  repvgg_a1: repVgg(A, 1, 2.5),
  repvgg_a2: repVgg(A, 1.5, 2.75),
  repvgg_b0: repVgg(B, 1, 2.5),
  repvgg_b1: repVgg(B, 2, 4),
  repvgg_b1g2: repVgg(B, 2, 4, { groups: 2 }),
  repvgg_b1g4: repVgg(B, 2, 4, { groups: 4 }),
  repvgg_b2: repVgg(B, 2.5, 5),
  repvgg_b2g2: repVgg(B, 2.5, 5, { groups: 2 }),
  repvgg_b2g4: repVgg(B, 2.5, 5, { groups: 4 }),
  repvgg_b3: repVgg(B, 3, 5),
  repvgg_b3g2: repVgg(B, 3, 5, { groups: 2 }),
  repvgg_b3g4: repVgg(B, 3, 5, { groups: 4 }),
  repvgg_d2se: repVgg([8, 14, 24, 1], 2.5, 5, { squeezeExcite: true, imageSize: 320 }),
  mobileone_s0: mobileOne([0.75, 1, 1, 2], { branches: 4 }),
  mobileone_s1: mobileOne([1.5, 1.5, 2, 2.5]),
  mobileone_s2: mobileOne([1.5, 2, 2.5, 4]),
  mobileone_s3: mobileOne([2, 2.5, 3, 4]),
  mobileone_s4: mobileOne([3, 3.5, 3.5, 4], { squeezeExcite: true }),
};
