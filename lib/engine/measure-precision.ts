import { checkOptions } from '../arguments/check';
import { integer, optional, optionsOf, SIGNAL, THREADS } from '../arguments/schemas';
import { bindInputs, checkModel, type InputTensors, inputsOf, type Model } from '../graph';
import { withSizes } from '../graph/open-sizes';
import { elementCount, type Tensor } from '../tensor/tensor';
import { compileGraph } from './compile';
import { SplitGraph } from './data-sizes';
import { Engine } from './engine';
import type { EngineStep } from './explain';
import { type Algorithm, PRECISIONS, type Precision } from './native-engine';
import { ReferenceRun } from './reference-run';

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
  /** Shape of the input, of several that of the first. */
  readonly input: readonly number[];
  /** Shapes by name, of several inputs. */
  readonly inputs?: Readonly<Record<string, readonly number[]>>;
  readonly threads: number;
  readonly network: Readonly<Record<Precision, NetworkMeasure>>;
  /** The convolutions, that of the largest error in any precision first. */
  readonly layers: readonly LayerPrecision[];
}

/**
 * What each precision of the engine costs and saves on a network and an input: time and error of every convolution and of the whole, against
 * float64 sums rounded once a layer. Each layer is judged alone, on the input that it has in the float64 network.
 *
 * @param input as for `Engine.run`, of several inputs by their names; real ones tell more than random ones
 * @throws as `Engine.create` and `Engine.run`
 */
export async function measurePrecision(
  given: Model,
  input: InputTensors,
  options: MeasurePrecisionOptions = {},
): Promise<PrecisionReport> {
  const checked = checkOptions('measurePrecision', OPTIONS, options);
  const { runs = 10, signal } = checked;
  const model = checkModel(given);
  const bound = bindInputs(model.graph, input);
  const shapes = Object.fromEntries(inputsOf(model.graph).map(({ id }, i) => [id, bound[i]!.shape]));
  const { threads, outputs, plans } = await runEngines(model, input, shapes, { ...checked, runs });
  const { front } = new SplitGraph(model.graph, model.tensors);
  const program = compileGraph(withSizes(front, shapes), model.tensors);
  const reference = new ReferenceRun(program, bound, threads, signal);
  const layers: LayerPrecision[] = [];
  for await (const layer of reference.layers()) {
    const measures: Partial<Record<Precision, LayerMeasure>> = {};
    const magnitudes = peakOf(await reference.magnitudes(layer.step, layer.input));
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
    input: bound[0]!.shape,
    ...(bound.length > 1 ? { inputs: shapes } : {}),
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
  input: InputTensors,
  shapes: Readonly<Record<string, readonly number[]>>,
  { threads, runs, signal }: MeasurePrecisionOptions & { readonly runs: number },
) {
  const made: Partial<Record<Precision, Engine>> = {};
  try {
    for (const precision of PRECISIONS) made[precision] = await Engine.create(model, { precision, threads, signal });
    const engines = made as Record<Precision, Engine>;
    const outputs = await timeRuns(engines, input, runs, signal);
    const plans = byPrecision((precision) => engines[precision].explain(shapes));
    return { threads: engines.f32.threads, outputs, plans };
  } finally {
    for (const engine of Object.values(made)) engine.dispose();
  }
}

/** Runs in turn: what else the machine does meets all alike. */
async function timeRuns(
  engines: Readonly<Record<Precision, Engine>>,
  input: InputTensors,
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
  if (kernel.startsWith('winograd F(4x2')) return 'winograd4x2';
  return kernel.startsWith('winograd F(4') ? 'winograd4' : 'direct';
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
