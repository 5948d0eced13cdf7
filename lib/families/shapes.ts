import type { StateDict } from '../checkpoint/state-dict';
import { formatShape, isPerChannel, type Tensor } from '../tensor/tensor';
import { type FusedShape, type Kernel, kernelShape } from './fused-shape';
import type { ConvRule, ScaleRule, StageRule } from './rule';
import { batchNormKeys, convKeys, type ResolvedBranch } from './stages';

export interface ShapeMismatch {
  readonly tensor: string;
  readonly problem: string;
}

/** A block as it is to be checked. All required tensors must be there. */
export interface ShapedBlock {
  readonly branches: readonly ResolvedBranch[];
  readonly combine: 'sum' | 'concat' | 'split';
  readonly after: readonly StageRule[];
  /** Of its keys, with its dot. */
  readonly prefix: string;
  /** Key of the main convolution's weight, without the prefix. */
  readonly anchor: string;
  readonly shape: FusedShape;
}

/**
 * The first tensor of a block whose shape does not fit: each stage must fit the one before, and branches that are summed
 * must all yield the main convolution's channels.
 */
export function shapeProblem(block: ShapedBlock, tensors: StateDict): ShapeMismatch | undefined {
  const { branches, combine, after, prefix, anchor, shape } = block;
  const { block: kernel, groups } = shape;
  const main = tensors.get(prefix + anchor)!;
  if (combine === 'split') {
    const dense = branches.flatMap(({ stages }) => stages).find((stage) => 'conv' in stage && !stage.depthwise);
    if (dense !== undefined && 'conv' in dense)
      return { tensor: prefix + convKeys(dense).weight, problem: 'is not depthwise, and reads a part of the input' };
  }
  const mayBeLinear = branches.some(({ stages }) =>
    stages.some((stage) => 'conv' in stage && stage.linear && convKeys(stage).weight === anchor),
  );
  const wrong = kernelProblem(prefix + anchor, main, mayBeLinear);
  if (wrong !== undefined) return wrong;
  if (groups !== null && kernel[0] % groups !== 0) {
    return {
      tensor: prefix + anchor,
      problem: `shape ${formatShape(main.shape)}: ${kernel[0]} output channels do not divide into the ${groups} groups that the other branches have`,
    };
  }
  let joined = 0;
  for (const { stages } of branches) {
    // A part of a split input has the channels of its own kernel.
    const known = groups === null || combine === 'split' ? null : kernel[1] * groups;
    const check = new StageCheck(tensors, prefix, kernel, groups, known);
    const mismatch = check.run(stages) ?? (combine === 'sum' ? check.yieldProblem() : undefined);
    if (mismatch !== undefined) return mismatch;
    joined += check.channels ?? kernel[0];
  }
  return new StageCheck(tensors, prefix, kernel, groups, combine === 'sum' ? kernel[0] : joined).run(after);
}

class StageCheck {
  /** The tensor that decided the channels. */
  private decidedBy = '';

  constructor(
    private readonly tensors: StateDict,
    private readonly prefix: string,
    private readonly block: Kernel,
    private readonly groups: number | null,
    /** Channels of the map that the next stage sees; null at the input as long as groups are unknown. */
    public channels: number | null,
  ) {}

  run(stages: readonly StageRule[]): ShapeMismatch | undefined {
    for (const stage of stages) {
      const mismatch = this.stageProblem(stage);
      if (mismatch !== undefined) return mismatch;
    }
    return undefined;
  }

  /** Why the branch cannot be summed with the others, or undefined. */
  yieldProblem(): ShapeMismatch | undefined {
    if (this.channels === this.block[0] || (this.channels === null && this.decidedBy === '')) return undefined;
    return {
      tensor: this.decidedBy,
      problem: `shape ${formatShape(this.tensors.get(this.decidedBy)?.shape ?? this.block)} makes the branch yield ${this.channels} channels, the main convolution ${formatShape(this.block)} yields ${this.block[0]}`,
    };
  }

  private stageProblem(stage: StageRule): ShapeMismatch | undefined {
    if ('conv' in stage) return this.convProblem(stage);
    if ('batchNorm' in stage) {
      const { mean, variance, weight, bias } = batchNormKeys(stage);
      return this.vectorsProblem([mean, variance, weight, bias]);
    }
    if ('bias' in stage) return this.vectorsProblem([stage.bias]);
    return 'scale' in stage ? this.scaleProblem(stage) : undefined;
  }

  private convProblem(stage: ConvRule): ShapeMismatch | undefined {
    const keys = convKeys(stage);
    const name = this.prefix + keys.weight;
    const tensor = this.tensors.get(name)!;
    if (stage.taps) return this.tapsProblem(stage, name, tensor);
    const wrong = kernelProblem(name, tensor, stage.linear);
    if (wrong !== undefined) return wrong;
    const shape = `shape ${formatShape(tensor.shape)}`;
    const [out, inPerGroup, height, width] = kernelShape(tensor);
    const groups = stage.expanding ? (this.channels ?? 0) : stage.depthwise ? out : (this.groups ?? 1);
    const fits = this.channels === null ? inPerGroup === this.block[1] : inPerGroup * groups === this.channels;
    if (!fits || (stage.depthwise && (inPerGroup !== 1 || out % groups !== 0))) {
      const expected = this.channels === null ? `${this.block[1]} in each group` : `${this.channels}`;
      return { tensor: name, problem: `${shape} does not fit the input channels: ${expected}` };
    }
    const misplaced = this.placeProblem(stage, height, width);
    if (misplaced !== undefined) return { tensor: name, problem: `${shape} ${misplaced}` };
    if (stage.plusIdentity && out !== inPerGroup * (this.groups ?? 1))
      return { tensor: name, problem: `${shape} is no difference to an identity` };
    this.channels = out;
    this.decidedBy = name;
    return keys.bias === undefined ? undefined : this.vectorsProblem([keys.bias]);
  }

  /** Of a depthwise kernel whose tensor holds the taps alone. */
  private tapsProblem(stage: ConvRule, name: string, { shape }: Tensor): ShapeMismatch | undefined {
    const [height = 0, width = 0] = shape.slice(-2);
    const isForEach = shape.length === 3 && shape[0] === this.channels;
    if ((shape.length !== 2 && !isForEach) || shape.includes(0))
      return { tensor: name, problem: `shape ${formatShape(shape)} is no kernel for ${this.channels} channels` };
    const misplaced = this.placeProblem(stage, height, width);
    if (misplaced !== undefined) return { tensor: name, problem: `shape ${formatShape(shape)} ${misplaced}` };
    this.decidedBy = name;
    return undefined;
  }

  /** Why a kernel of this size cannot stand where the stage puts it, or undefined. */
  private placeProblem(
    { geometry, kernel, dilation = 1 }: ConvRule,
    height: number,
    width: number,
  ): string | undefined {
    if (kernel !== undefined && (Number(kernel[0]) !== height || Number(kernel[1]) !== width))
      return `is not ${kernel.join('x')}`;
    const [, , blockHeight, blockWidth] = this.block;
    const extent = (size: number) => (size - 1) * Number(dilation) + 1;
    switch (geometry) {
      case 'pointwise':
        return height === 1 && width === 1 ? undefined : 'is not 1x1';
      case 'valid':
        return height === blockHeight && width === blockWidth
          ? undefined
          : `is not of the block's ${blockHeight}x${blockWidth} kernel`;
      case 'aligned':
        return isCentred(extent(height), blockHeight) && isCentred(extent(width), blockWidth)
          ? undefined
          : `cannot be centred on the block's ${blockHeight}x${blockWidth} kernel`;
    }
  }

  private vectorsProblem(keys: readonly string[]): ShapeMismatch | undefined {
    const expected = this.channels ?? this.block[0];
    for (const key of keys) {
      const tensor = this.tensors.get(this.prefix + key);
      const wrong = tensor === undefined ? undefined : vectorProblem(this.prefix + key, tensor, expected);
      if (wrong !== undefined) return wrong;
    }
    if (this.decidedBy === '') this.decidedBy = this.prefix + keys[0]!;
    this.channels = expected;
    return undefined;
  }

  /** One value, or one per channel. */
  private scaleProblem({ scale, row }: ScaleRule): ShapeMismatch | undefined {
    const name = this.prefix + scale;
    const tensor = this.tensors.get(name);
    if (tensor === undefined) return undefined;
    const expected = this.channels ?? this.block[0];
    const { shape } = tensor;
    const isRowThere = row !== undefined && shape.length === 2 && row < shape[0]! && shape[1] === expected;
    if (row === undefined ? tensor.size !== 1 && !isPerChannel(shape, expected) : !isRowThere)
      return { tensor: name, problem: `shape ${formatShape(tensor.shape)} does not fit ${expected} channels` };
    return undefined;
  }
}

function isCentred(size: number, blockSize: number): boolean {
  return size <= blockSize && (blockSize - size) % 2 === 0;
}

function kernelProblem(tensor: string, { shape }: Tensor, mayBeLinear = false): ShapeMismatch | undefined {
  if (!(shape.length === 4 || (mayBeLinear && shape.length === 2)) || shape.includes(0))
    return { tensor, problem: `shape ${formatShape(shape)} is no convolution kernel` };
  return undefined;
}

function vectorProblem(tensor: string, { shape }: Tensor, channels: number): ShapeMismatch | undefined {
  if (!isPerChannel(shape, channels))
    return { tensor, problem: `shape ${formatShape(shape)} does not fit ${channels} channels` };
  return undefined;
}
