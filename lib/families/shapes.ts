import type { StateDict } from '../checkpoint/state-dict';
import { DTYPES, type DType } from '../tensor/dtype';
import { formatShape, type Tensor } from '../tensor/tensor';
import type { StageRule } from './rule';
import type { PlannedBranch } from './stages';

export interface Misfit {
  readonly tensor: string;
  readonly problem: string;
}

type ConvRule = Extract<StageRule, { conv: string }>;
type Kernel = readonly [outChannels: number, inPerGroup: number, height: number, width: number];

/**
 * The first tensor of a block whose type or shape does not fit: each stage must fit the one before, and every branch must yield
 * the main convolution's channels. All required tensors must be there.
 *
 * @param groups null where no tensor fixes them: every branch then reads the same inputs, whatever they are
 */
export function shapeProblem(
  branches: readonly PlannedBranch[],
  tensors: StateDict,
  prefix: string,
  anchor: string,
  groups: number | null,
): Misfit | undefined {
  const main = tensors.get(prefix + anchor)!;
  const wrong = kernelProblem(prefix + anchor, main);
  if (wrong !== undefined) return wrong;
  const block = main.shape as unknown as Kernel;
  if (groups !== null && block[0] % groups !== 0) {
    return {
      tensor: prefix + anchor,
      problem: `shape ${formatShape(main.shape)}: ${block[0]} output channels do not divide into the ${groups} groups that the other branches have`,
    };
  }
  for (const { stages } of branches) {
    const misfit = new BranchCheck(tensors, prefix, block, groups).run(stages);
    if (misfit !== undefined) return misfit;
  }
  return undefined;
}

class BranchCheck {
  /** Channels of the map that the next stage sees; null at the input as long as groups are unknown. */
  private channels: number | null;
  /** The tensor that decided them. */
  private decidedBy = '';

  constructor(
    private readonly tensors: StateDict,
    private readonly prefix: string,
    private readonly block: Kernel,
    private readonly groups: number | null,
  ) {
    this.channels = groups === null ? null : block[1] * groups;
  }

  run(stages: readonly StageRule[]): Misfit | undefined {
    for (const stage of stages) {
      const misfit =
        'conv' in stage
          ? this.convProblem(stage)
          : 'batchNorm' in stage
            ? this.batchNormProblem(stage.batchNorm)
            : undefined;
      if (misfit !== undefined) return misfit;
    }
    if (this.channels === this.block[0]) return undefined;
    return {
      tensor: this.decidedBy,
      problem: `shape ${formatShape(this.tensors.get(this.decidedBy)!.shape)} makes the branch yield ${this.channels} channels, the main convolution ${formatShape(this.block)} yields ${this.block[0]}`,
    };
  }

  private convProblem(stage: ConvRule): Misfit | undefined {
    const name = `${this.prefix}${stage.conv}.weight`;
    const tensor = this.tensors.get(name)!;
    const wrong = kernelProblem(name, tensor);
    if (wrong !== undefined) return wrong;
    const shape = `shape ${formatShape(tensor.shape)}`;
    const [out, inPerGroup, height, width] = tensor.shape as unknown as Kernel;
    const fits =
      this.channels === null ? inPerGroup === this.block[1] : inPerGroup * (this.groups ?? 1) === this.channels;
    if (!fits) {
      const expected = this.channels === null ? `${this.block[1]} in each group` : `${this.channels}`;
      return { tensor: name, problem: `${shape} does not fit the input channels: ${expected}` };
    }
    const misplaced = this.placeProblem(stage, height, width);
    if (misplaced !== undefined) return { tensor: name, problem: `${shape} ${misplaced}` };
    if (stage.plusIdentity && out !== inPerGroup * (this.groups ?? 1))
      return { tensor: name, problem: `${shape} is no difference to an identity` };
    const biasName = `${this.prefix}${stage.conv}.bias`;
    const bias = this.tensors.get(biasName);
    this.channels = out;
    this.decidedBy = name;
    return bias === undefined ? undefined : vectorProblem(biasName, bias, out);
  }

  /** Why a kernel of this size cannot stand where the stage puts it, or undefined. */
  private placeProblem({ geometry }: ConvRule, height: number, width: number): string | undefined {
    const [, , blockHeight, blockWidth] = this.block;
    switch (geometry) {
      case 'pointwise':
        return height === 1 && width === 1 ? undefined : 'is not 1x1';
      case 'valid':
        return height === blockHeight && width === blockWidth
          ? undefined
          : `is not of the block's ${blockHeight}x${blockWidth} kernel`;
      case 'aligned':
        return isCentred(height, blockHeight) && isCentred(width, blockWidth)
          ? undefined
          : `cannot be centred on the block's ${blockHeight}x${blockWidth} kernel`;
    }
  }

  private batchNormProblem(batchNorm: string): Misfit | undefined {
    const expected = this.channels ?? this.block[0];
    for (const member of ['running_mean', 'running_var', 'weight', 'bias']) {
      const name = `${this.prefix}${batchNorm}.${member}`;
      const tensor = this.tensors.get(name);
      const wrong = tensor === undefined ? undefined : vectorProblem(name, tensor, expected);
      if (wrong !== undefined) return wrong;
    }
    if (this.decidedBy === '') this.decidedBy = `${this.prefix}${batchNorm}.running_mean`;
    this.channels = expected;
    return undefined;
  }
}

function isCentred(size: number, blockSize: number): boolean {
  return size <= blockSize && (blockSize - size) % 2 === 0;
}

function kernelProblem(tensor: string, { dtype, shape }: Tensor): Misfit | undefined {
  if (shape.length !== 4 || shape.includes(0))
    return { tensor, problem: `shape ${formatShape(shape)} is no convolution kernel` };
  return typeProblem(tensor, dtype);
}

function vectorProblem(tensor: string, { dtype, shape }: Tensor, channels: number): Misfit | undefined {
  if (shape.length !== 1 || shape[0] !== channels)
    return { tensor, problem: `shape ${formatShape(shape)} does not fit ${channels} channels` };
  return typeProblem(tensor, dtype);
}

function typeProblem(tensor: string, dtype: DType): Misfit | undefined {
  if (DTYPES[dtype].floating) return undefined;
  return { tensor, problem: `dtype ${dtype} (${TORCH_NAMES[dtype] ?? dtype}) is no floating-point type` };
}

/** As users of PyTorch know them. */
const TORCH_NAMES: Partial<Readonly<Record<DType, string>>> = {
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
};
