import { checkOptions } from '../arguments/check';
import { integer, optional, optionsOf, SIGNAL, THREADS } from '../arguments/schemas';
import { checkModel, type Model } from '../graph';
import { resolveMemoryLimit } from '../native/memory';
import { addAsync, hardswishAsync, reluAsync, sigmoidAsync, siluAsync } from '../ops';
import type { Padding4 } from '../ops/geometry';
import { type TensorOp, tensorOpAsync, tensorOpShape } from '../ops/tensor-op';
import { elementCount, Tensor } from '../tensor/tensor';
import { compileGraph } from './compile';
import { Engine } from './engine';
import type { EngineStep } from './explain';
import { type Algorithm, type ImageShape, NativeEngine, PRECISIONS, type Precision } from './native-engine';
import type { Program, ProgramStep } from './program';

export interface MeasurePrecisionOptions {
  /** Threads; default as the engine's. */
  readonly threads?: number | undefined;
  /** Timed runs of the network in each precision, in turn. Default 10. */
  readonly runs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const OPTIONS = optionsOf<MeasurePrecisionOptions>()({
  threads: optional(THREADS),
  runs: optional(integer(1, 10_000)),
  signal: optional(SIGNAL),
});

/** A convolution in one precision. */
export interface LayerMeasure {
  /** That the network's plan has for it. */
  readonly kernel: string;
  /** Of its fastest run within the network; null where it is one step with the layer after it. */
  readonly seconds: number | null;
  /** max |difference| from float64 over the peak, for the input that the float64 network gives it, before a sum with another value. */
  readonly error: number;
  /**
   * The same difference over the largest sum of magnitudes of the layer's terms: at most `PRECISION_BOUNDS`, where the activation stretches
   * nothing (hardswish does by up to 1.5, silu by 1.1).
   */
  readonly errorOfMagnitudes: number;
}

export interface LayerPrecision {
  readonly layer: string;
  readonly output: readonly number[];
  readonly measures: Readonly<Record<Precision, LayerMeasure>>;
}

export interface NetworkMeasure {
  /** Median of a run. */
  readonly seconds: number;
  /** max |difference| from float64 over the peak of the network's output. */
  readonly error: number;
  /** Of vectors: how many images of the batch have the same largest element. */
  readonly agreeing: number | null;
}

export interface PrecisionReport {
  readonly input: readonly number[];
  readonly threads: number;
  readonly network: Readonly<Record<Precision, NetworkMeasure>>;
  /** The convolutions, that of the largest error in any precision first. */
  readonly layers: readonly LayerPrecision[];
}

/**
 * What each precision of the engine costs and saves on a network and an input: time and error of every convolution and of the whole, against
 * float64 sums rounded once a layer. Each layer is judged alone, on the input that it has in the float64 network.
 *
 * @param input as for `Engine.run`; real ones tell more than random ones
 * @throws as `Engine.create` and `Engine.run`
 */
export async function measurePrecision(
  given: Model,
  input: Tensor,
  options: MeasurePrecisionOptions = {},
): Promise<PrecisionReport> {
  const checked = checkOptions('measurePrecision', OPTIONS, options);
  const { runs = 10, signal } = checked;
  const model = checkModel(given);
  const { threads, outputs, plans } = await runEngines(model, input, { ...checked, runs });
  const reference = new ReferenceRun(compileGraph(model.graph, model.tensors), input, threads, signal);
  const layers: LayerPrecision[] = [];
  for await (const layer of reference.layers()) {
    const measures: Partial<Record<Precision, LayerMeasure>> = {};
    const magnitudes = await reference.magnitudes(layer.step, layer.input);
    for (const precision of PRECISIONS) {
      const { kernel, seconds } = stepOf(plans[precision], layer.step.name);
      const got = await reference.run(layer.step, layer.input, { precision, algorithm: algorithmOf(kernel) });
      const difference = largestDifference(got, layer.want);
      measures[precision] = {
        kernel,
        seconds,
        error: ratio(difference, peakOf(layer.want)),
        errorOfMagnitudes: ratio(difference, magnitudes),
      };
    }
    layers.push({
      layer: layer.step.name,
      output: layer.want.shape,
      measures: measures as Record<Precision, LayerMeasure>,
    });
  }
  const worst = ({ measures }: LayerPrecision) => Math.max(...PRECISIONS.map((precision) => measures[precision].error));
  const want = reference.output;
  return {
    input: input.shape,
    threads,
    network: byPrecision((precision) => ({
      seconds: outputs[precision].seconds,
      error: ratio(largestDifference(outputs[precision].output, want), peakOf(want)),
      agreeing: agreeing(outputs[precision].output, want),
    })),
    layers: layers.sort((a, b) => worst(b) - worst(a)),
  };
}

function byPrecision<T>(make: (precision: Precision) => T): Record<Precision, T> {
  return Object.fromEntries(PRECISIONS.map((precision) => [precision, make(precision)])) as Record<Precision, T>;
}

/** The network in each precision: what it gives, how long it takes, its plan. */
async function runEngines(
  model: Model,
  input: Tensor,
  { threads, runs, signal }: MeasurePrecisionOptions & { readonly runs: number },
) {
  const made: Partial<Record<Precision, Engine>> = {};
  try {
    for (const precision of PRECISIONS) made[precision] = await Engine.create(model, { precision, threads, signal });
    const engines = made as Record<Precision, Engine>;
    const outputs = await timeRuns(engines, input, runs, signal);
    const plans = byPrecision((precision) => engines[precision].explain(input.shape));
    return { threads: engines.f32.threads, outputs, plans };
  } finally {
    for (const engine of Object.values(made)) engine.dispose();
  }
}

/** Runs in turn: what else the machine does meets all alike. */
async function timeRuns(
  engines: Readonly<Record<Precision, Engine>>,
  input: Tensor,
  runs: number,
  signal: AbortSignal | undefined,
) {
  const times = byPrecision(() => [] as number[]);
  const outputs = new Map<Precision, Tensor>();
  for (const precision of PRECISIONS) outputs.set(precision, await engines[precision].run(input, { signal }));
  for (let i = 0; i < runs; i++) {
    for (const precision of PRECISIONS) {
      const before = performance.now();
      await engines[precision].run(input, { out: outputs.get(precision), signal });
      times[precision].push((performance.now() - before) / 1e3);
    }
  }
  return byPrecision((precision) => ({
    output: outputs.get(precision)!,
    seconds: times[precision].sort((a, b) => a - b)[runs >> 1]!,
  }));
}

/** The kernel of a layer in a plan, where several layers may be one step. */
function stepOf(plan: readonly EngineStep[], layer: string): Pick<LayerMeasure, 'kernel' | 'seconds'> {
  for (const { layer: name, kernel, seconds, macs } of plan) {
    const parts = name.split(' + ');
    const index = parts.indexOf(layer);
    if (index < 0 || macs === 0) continue;
    return { kernel: kernel.split(' + ')[index]!, seconds: index === parts.length - 1 ? seconds : null };
  }
  throw new Error(`the plan has no step for ${layer}`);
}

/** What asks for a kernel by its name. */
function algorithmOf(kernel: string): Algorithm {
  if (kernel.includes('bf16')) return 'products';
  if (kernel === 'float64') return 'float64';
  if (kernel.startsWith('winograd F(2')) return 'winograd2';
  return kernel.startsWith('winograd F(4') ? 'winograd4' : 'direct';
}

interface ReferenceLayer {
  readonly step: ProgramStep;
  readonly input: Tensor;
  readonly want: Tensor;
}

/** A program step by step, with float64 sums. */
class ReferenceRun {
  private readonly values: (Tensor | undefined)[];
  private readonly lastReader: number[];

  constructor(
    private readonly program: Program,
    input: Tensor,
    private readonly threads: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.values = [input];
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
        const [input, residual] = inputs as [Tensor, Tensor?];
        const single = alone(step);
        const want = await this.run(single, input, { algorithm: 'float64' });
        yield { step: single, input, want };
        this.values.push(residual === undefined ? want : await this.activated(step, await this.sum(want, residual)));
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
    const shape = [...input.shape, 1, 1].slice(0, 4) as unknown as ImageShape;
    const isVector = input.shape.length === 2; // which an engine's input is not
    const steps: ProgramStep[] = isVector
      ? [
          { kind: 'flatten', name: step.name, inputs: [0] },
          { ...step, inputs: [1] },
        ]
      : [step];
    const program: Program = { inChannels: shape[1], steps, outputs: [steps.length] };
    const options = { algorithm, precision, batchInvariant: false, plans: 1, memory: resolveMemoryLimit(undefined) };
    const native = await NativeEngine.build(program, options, this.signal);
    try {
      await native.prepare(shape, this.threads, { signal: this.signal });
      const output = Tensor.f32(native.explain(shape, this.threads).at(-1)!.output);
      const run = {
        shape,
        input: input.data as Float32Array,
        outputs: [output.data as Float32Array],
        ownsOutputs: true,
      };
      await native.runAsync(run, this.threads, this.signal);
      return output;
    } finally {
      native.dispose();
    }
  }

  /** The largest sum of magnitudes of a convolution's terms, at any place of the kernel that meets the image. */
  async magnitudes(step: ProgramStep, input: Tensor): Promise<number> {
    const { activation: _, fuse, ...plain } = step;
    const { weight, bias } = fuse === undefined ? step : await fuse({ signal: this.signal });
    const sums: ProgramStep = { ...plain, weight: magnitudesOf(weight!), bias: bias ? magnitudesOf(bias) : null };
    const padding = step.padding?.map((pad, side) => beyond(pad, sums, side % 2)) as Padding4 | undefined;
    return peakOf(
      await this.run({ ...sums, ...(padding && { padding }) }, magnitudesOf(input), { algorithm: 'float64' }),
    );
  }

  /** What has no weights. */
  private async other(step: ProgramStep, inputs: readonly Tensor[]): Promise<Tensor> {
    const [first, second] = inputs as [Tensor, Tensor];
    const { kind } = step;
    switch (kind) {
      case 'add':
        return this.activated(step, await this.sum(first, second));
      case 'gate':
        return gated(first, second);
      case 'toImages':
      case 'toTensor':
        return first;
      case 'constant':
        return step.bias!;
      case 'activation':
        return this.activated(step, first);
      case 'averagePool':
      case 'conv':
      case 'flatten':
      case 'frame':
      case 'globalAveragePool':
      case 'linear':
      case 'maxPool':
      case 'softmax':
        return this.run(alone(step), first, { algorithm: 'float64' });
      default: {
        const op = { ...step, kind } as TensorOp;
        return tensorOpAsync(op, inputs, tensorOpShape(op, inputs), { threads: this.threads });
      }
    }
  }

  private sum(first: Tensor, second: Tensor): Promise<Tensor> {
    return addAsync(first, second, { threads: this.threads });
  }

  private async activated({ activation, alpha = 0, beta = 0 }: ProgramStep, x: Tensor): Promise<Tensor> {
    const options = { threads: this.threads };
    switch (activation) {
      case undefined:
        return x;
      case 'relu':
      case 'sigmoid':
      case 'silu':
      case 'hardswish':
        return ACTIVATIONS[activation](x, options);
      default:
        return tensorOpAsync({ kind: 'activation', activation, alpha, beta }, [x], x.shape, options);
    }
  }
}

const ACTIVATIONS = { relu: reluAsync, sigmoid: sigmoidAsync, silu: siluAsync, hardswish: hardswishAsync };

/** Of a convolution with a residual: without it, and what comes after their sum. */
function alone(step: ProgramStep): ProgramStep {
  if (step.inputs.length === 1) return { ...step, inputs: [0] };
  const { activation: _, ...rest } = step;
  return { ...rest, inputs: [0] };
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

function gated(x: Tensor, gate: Tensor): Tensor {
  const factors = gate.data as Float32Array;
  const pixels = elementCount(x.shape) / factors.length;
  return Tensor.f32(
    x.shape,
    (x.data as Float32Array).map((value, i) => value * factors[Math.floor(i / pixels)]!),
  );
}

function largestDifference(got: Tensor, want: Tensor): number {
  const [have, expected] = [got.data as Float32Array, want.data as Float32Array];
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(have[i]! - value)), 0);
}

function peakOf({ data }: Tensor): number {
  return (data as Float32Array).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/** Of nothing but zeros the difference itself. */
function ratio(difference: number, whole: number): number {
  return whole === 0 ? difference : difference / whole;
}

function agreeing(got: Tensor, want: Tensor): number | null {
  const [images, ...map] = want.shape as [number, ...number[]];
  const classes = elementCount(want.shape) / images;
  if (map.slice(1).some((size) => size > 1) || classes < 2) return null;
  const largest = ({ data }: Tensor, image: number) => {
    const row = (data as Float32Array).subarray(image * classes, (image + 1) * classes);
    return row.indexOf(Math.max(...row));
  };
  return Array.from({ length: images }, (_, i) => i).filter((i) => largest(got, i) === largest(want, i)).length;
}
