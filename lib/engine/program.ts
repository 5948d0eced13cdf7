import type { Materialized } from '../algebra';
import type { Padding4 } from '../ops/geometry';
import type { TensorOp } from '../ops/tensor-op';
import type { Tensor } from '../tensor/tensor';

/** What the native engine can do, in the words of native/src/addon/engine.cc. */
export type StepKind =
  | 'activation'
  | 'add'
  | 'averagePool'
  | 'conv'
  | 'flatten'
  | 'frame'
  | 'gate'
  | 'globalAveragePool'
  | 'linear'
  | 'maxPool'
  | 'softmax'
  | 'constant'
  | 'toImages'
  | 'toTensor'
  | TensorOp['kind'];

export type StepActivation = 'hardswish' | 'relu' | 'sigmoid' | 'silu' | NonNullable<TensorOp['activation']>;

type Two = readonly [number, number];

/** One operator of a program. What its kind does not use is left out. */
export interface ProgramStep extends Omit<TensorOp, 'activation' | 'alpha' | 'beta' | 'bias' | 'kind'> {
  readonly kind: StepKind;
  /** Of the graph's node, or of the last of those that became one. */
  readonly name: string;
  /** Values: 0 is the input, i + 1 what step i makes. A convolution adds its second input before the activation. */
  readonly inputs: readonly number[];
  activation?: StepActivation;
  alpha?: number;
  beta?: number;
  /** In place of weight and bias: a convolution that has yet to be computed. Throws with the name of its node. */
  readonly fuse?: (options: { readonly signal?: AbortSignal | undefined }) => Promise<Materialized>;
  /** F32. Convolution OIHW, linear [out, in]. */
  readonly weight?: Tensor;
  /** F32 [out channels]; of a frame the value outside the map; of a constant or a binary function the constant. */
  readonly bias?: Tensor | null;
  readonly groups?: number;
  readonly kernel?: Two;
  readonly stride?: Two;
  /** `[top, left, bottom, right]`, negative only in a frame, where it crops. */
  readonly padding?: Padding4;
  readonly dilation?: Two;
  readonly ceilMode?: boolean;
  readonly countIncludePad?: boolean;
}

/** A network in the form in which it is handed to the native engine. */
export interface Program {
  readonly inChannels: number;
  readonly steps: readonly ProgramStep[];
  readonly outputs: readonly number[];
}
