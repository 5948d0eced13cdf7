import type { Epilogue } from '../graph/operators/operator';
import { resolveMemoryLimit } from '../native/memory';
import { hardswishAsync, reluAsync, sigmoidAsync, siluAsync } from '../ops';
import type { Padding4 } from '../ops/geometry';
import { type TensorOp, tensorOpAsync, tensorOpShape } from '../ops/tensor-op';
import { Tensor } from '../tensor/tensor';
import { type Algorithm, NativeEngine, type Precision } from './native-engine';
import { type FollowUp, type Program, type ProgramStep, type ScaleAndShift, scaleAndShift } from './program';

/** A convolution, its input, and what float64 sums make of it. */
export interface ReferenceLayer {
  readonly step: ProgramStep;
  readonly input: Tensor;
  readonly want: Tensor;
}

/**
 * A program step by step, every convolution with float64 sums rounded once. What steps make is computed natively: convolutions and windows by an
 * engine of that step alone, the rest by the eager operators.
 */
export class ReferenceRun {
  private readonly values: (Tensor | undefined)[];
  private readonly lastReader: number[];

  constructor(
    private readonly program: Program,
    inputs: readonly Tensor[],
    private readonly threads: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.values = [...inputs];
    this.lastReader = [];
    for (const [index, step] of program.steps.entries())
      for (const value of step.inputs) this.lastReader[value] = index;
  }

  get output(): Tensor {
    return this.values[this.program.outputs[0]!]!;
  }

  /** The convolutions in their order, with their inputs and what float64 makes of them. */
  async *layers(): AsyncGenerator<ReferenceLayer, void, void> {
    for (const [index, step] of this.program.steps.entries()) {
      const inputs = step.inputs.map((value) => this.values[value]!);
      if (step.kind === 'conv' || step.kind === 'linear') {
        const [input] = inputs as [Tensor];
        const single = alone(step);
        const want = await this.run(single, input, { algorithm: 'float64' });
        yield { step: single, input, want };
        this.values.push(await this.finished(want, rest(step), inputs.at(-1)!));
      } else this.values.push(await this.other(step, inputs));
      for (const value of step.inputs)
        if (this.lastReader[value] === index && value !== this.program.outputs[0]) this.values[value] = undefined;
    }
  }

  /** One step as a program of its own. */
  async run(
    step: ProgramStep,
    input: Tensor,
    { algorithm, precision = 'f32' }: { algorithm: Algorithm; precision?: Precision },
  ): Promise<Tensor> {
    const isImages = input.shape.length === 4;
    const steps: ProgramStep[] = isImages
      ? [step]
      : [
          { kind: 'toImages', name: step.name, inputs: [0] },
          { ...step, inputs: [1] },
        ];
    const inputs = [isImages ? input.shape[1]! : 0];
    const program: Program = { inputs, steps, outputs: [steps.length] };
    const options = {
      algorithm,
      precision,
      batchInvariant: false,
      leastMemory: false,
      merge: true,
      plans: 1,
      memory: resolveMemoryLimit(undefined),
    };
    const native = await NativeEngine.build(program, options, this.signal);
    try {
      await native.prepare([input.shape], this.threads, { signal: this.signal });
      const output = Tensor.f32(native.explain([input.shape], this.threads).at(-1)!.output);
      const run = {
        shapes: [input.shape],
        inputs: [input.data as Float32Array],
        outputs: [output.data as Float32Array],
        ownsOutputs: true,
      };
      await native.runAsync(run, this.threads, this.signal);
      return output;
    } finally {
      native.dispose();
    }
  }

  /** The sums of magnitudes of a convolution's terms, at every place of the kernel that meets the image. */
  async magnitudes(step: ProgramStep, input: Tensor): Promise<Tensor> {
    const { activation: _, fuse, ...plain } = step;
    const { weight, bias } = fuse === undefined ? step : await fuse({ signal: this.signal });
    const sums: ProgramStep = { ...plain, weight: magnitudesOf(weight!), bias: bias ? magnitudesOf(bias) : null };
    const padding = step.padding?.map((pad, side) => beyond(pad, sums, side % 2)) as Padding4 | undefined;
    return this.run({ ...sums, ...(padding && { padding }) }, magnitudesOf(input), { algorithm: 'float64' });
  }

  /** What has no weights. */
  private async other(step: ProgramStep, inputs: readonly Tensor[]): Promise<Tensor> {
    const [first, second] = inputs as [Tensor, Tensor];
    const { kind } = step;
    switch (kind) {
      case 'add':
        return this.finished(await this.sum(first, second), following(step), second);
      case 'gate':
        // One factor for each channel of each image.
        return this.op({ kind: 'binary', function: 'mul' }, [
          first,
          Tensor.f32([...first.shape.slice(0, 2), 1, 1], second.data as Float32Array),
        ]);
      case 'toImages':
      case 'toTensor':
        return first;
      case 'constant':
        return step.bias!;
      case 'activation':
        return this.finished(first, following(step), first);
      case 'averagePool':
      case 'conv':
      case 'flatten':
      case 'frame':
      case 'globalAveragePool':
      case 'linear':
      case 'maxPool':
      case 'softmax':
        return this.run(alone(step), first, { algorithm: 'float64' });
      case 'binary': {
        const parts = following(step);
        const operands = parts.some((part) => 'sums' in part) ? inputs.slice(0, -1) : inputs;
        const { activation: _, follows: __, ...plain } = step;
        return this.finished(await this.op({ ...plain, kind }, operands), parts, inputs.at(-1)!);
      }
      default:
        return this.op({ ...step, kind } as TensorOp, inputs);
    }
  }

  private sum(first: Tensor, second: Tensor): Promise<Tensor> {
    return this.op({ kind: 'binary', function: 'add' }, [first, second]);
  }

  /** What parts of an epilogue make of a value. */
  private async finished(x: Tensor, parts: readonly FollowUp[], residual: Tensor): Promise<Tensor> {
    let value = x;
    for (const part of parts) {
      if ('sums' in part) value = await this.sum(value, residual);
      else if ('fuse' in part) value = await this.scaled(value, await scaleAndShift(part.fuse, this.signal));
      else value = await this.activated(part, value);
    }
    return value;
  }

  private async scaled(x: Tensor, { scale, shift }: ScaleAndShift): Promise<Tensor> {
    const ofChannels = (values: Tensor) => ({ bias: values, ints: [values.size, ...x.shape.slice(2).map(() => 1)] });
    const product = await this.op({ kind: 'binary', function: 'mul', ...ofChannels(scale) }, [x]);
    return this.op({ kind: 'binary', function: 'add', ...ofChannels(shift) }, [product]);
  }

  private async activated({ activation, alpha = 0, beta = 0 }: Epilogue, x: Tensor): Promise<Tensor> {
    const eager = EAGER_ACTIVATIONS.get(activation);
    if (eager !== undefined) return eager(x, { threads: this.threads });
    return this.op({ kind: 'activation', activation, alpha, beta }, [x]);
  }

  private op(op: TensorOp, inputs: readonly Tensor[]): Promise<Tensor> {
    return tensorOpAsync(op, inputs, tensorOpShape(op, inputs), { threads: this.threads });
  }
}

/** Those that have an eager operator of their own. */
const EAGER_ACTIVATIONS = new Map([
  ['relu', reluAsync],
  ['sigmoid', sigmoidAsync],
  ['silu', siluAsync],
  ['hardswish', hardswishAsync],
]);

/** A step with nothing but its activation; of a convolution with a residual that it adds first, without that. */
function alone(step: ProgramStep): ProgramStep {
  const { activation, alpha, beta, follows, ...plain } = step;
  const single = { ...plain, inputs: [0] };
  return addsFirst(step) || activation === undefined ? single : { ...single, activation, ...numbers(step) };
}

/** What is left of a step's epilogue where it stood alone. */
function rest(step: ProgramStep): readonly FollowUp[] {
  return addsFirst(step) ? [{ sums: true }, ...following(step)] : (step.follows ?? []);
}

function addsFirst({ kind, inputs, follows = [] }: ProgramStep): boolean {
  return kind === 'conv' && inputs.length > 1 && !follows.some((part) => 'sums' in part);
}

/** An activation and what follows it. */
function following(step: ProgramStep): readonly FollowUp[] {
  const { activation, follows = [] } = step;
  return activation === undefined ? follows : [{ activation, ...numbers(step) }, ...follows];
}

function numbers({ alpha, beta }: ProgramStep) {
  return { ...(alpha === undefined ? {} : { alpha }), ...(beta === undefined ? {} : { beta }) };
}

/** As much padding as lets the kernel leave the image, in whole strides more than there is: the places between stay. */
function beyond(pad: number, { weight, stride, dilation }: ProgramStep, axis: number): number {
  const size = weight?.shape[2 + axis] ?? 1;
  const step = stride?.[axis] ?? 1;
  const missing = Math.max((size - 1) * (dilation?.[axis] ?? 1) - pad, 0);
  return pad + Math.floor(missing / step) * step;
}

function magnitudesOf({ shape, data }: Tensor): Tensor {
  return Tensor.f32(shape, (data as Float32Array).map(Math.abs));
}
