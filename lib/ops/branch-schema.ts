import { BOOLEAN, integer, listOf, membersOf, nullable, nullish, optional, TEXT, variant } from '../arguments/schemas';
import { TENSOR } from '../tensor/schemas';
import { BATCH_NORM_MEMBERS } from './batch-norm';
import { CHANNELS, PADDING4, TWO } from './geometry';
import type { Branch, ConvStage, ScaleStage, Stage } from './stages';

type StageOf<Kind extends Stage['kind']> = Omit<Extract<Stage, { kind: Kind }>, 'kind'>;

const conv2d = {
  weight: TENSOR,
  bias: nullish(TENSOR),
  stride: TWO,
  padding: PADDING4,
  dilation: TWO,
  groups: integer(),
  plusIdentity: optional(BOOLEAN),
  taps: optional(CHANNELS),
} as const;
const scale = {
  scale: nullable(TENSOR),
  row: optional(integer(0)),
  negative: optional(BOOLEAN),
  zeroIsOne: optional(BOOLEAN),
} as const;
const averagePool = { kernel: TWO, stride: TWO, padding: PADDING4, countIncludePad: BOOLEAN } as const;

/** Schemas of the two stages that are also taken on their own, whatever their `kind` says. */
export const CONV_STAGE = membersOf<Omit<ConvStage, 'kind'>>()(conv2d);
export const SCALE_STAGE = membersOf<Omit<ScaleStage, 'kind'>>()(scale);

export const STAGE = variant<Stage>()('kind', {
  conv2d,
  batch_norm: BATCH_NORM_MEMBERS,
  pad_border: { padding: PADDING4 },
  avg_pool2d: averagePool,
  scale,
  bias: { bias: TENSOR },
} satisfies { readonly [Kind in Stage['kind']]: { readonly [Member in keyof StageOf<Kind>]-?: unknown } });

export const BRANCH = membersOf<Branch>()({ name: TEXT, stages: listOf(STAGE) });
export const STAGES = listOf(STAGE);
export const BRANCHES = listOf(BRANCH);
