import { Command, InvalidArgumentError } from 'commander';
import { quote } from '../arguments/show';
import { seededInputs } from '../convert/verify/seeded-inputs';
import { Engine, type EngineOptions, type EngineStep, measurePrecision, type Precision, readModel } from '../engine';
import { RepfuseError } from '../errors';
import { type InputShapes, type InputTensors, inputsOf, type Model, normalizeInput } from '../graph';
import { printable } from '../printable';
import { seededUniform, uniformValues } from '../tensor/random';
import { elementCount, Tensor } from '../tensor/tensor';
import { addGraphFlags, type GraphFlags, graphOptions } from './graph-flags';
import { readImages, readInputs } from './images';
import { formatShapes, shapesOf } from './input-shapes';
import { memoryOption, positiveInteger, precisionOption } from './options';
import { formatPrecision } from './precision-table';
import type { Session } from './session';
import { formatCount, formatTable } from './table';

interface BenchFlags extends GraphFlags {
  readonly precision: Precision | 'all';
  readonly memory?: EngineOptions['memory'];
  readonly input?: string;
  readonly tensor?: string;
  readonly batch: number;
  readonly size?: readonly [number, number];
  readonly inputShape: readonly NamedShape[];
  readonly runs: number;
  readonly threads?: number;
  readonly json?: true;
}

export function benchCommand(session: Session): Command {
  const command = new Command('bench')
    .description('Time a network in the engine: compiling, whole runs, and every layer with its kernel.')
    .argument('<model>', 'model file, as convert --graph writes it, or a checkpoint and its --arch');
  return addGraphFlags(command, 'where the file holds none')
    .addOption(precisionOption('all'))
    .addOption(memoryOption())
    .option('--input <file>', 'images [N, C, H, W] to run, as for run (default: seeded ones)')
    .option('--tensor <name>', 'which tensor of a safetensors input (default: the only one, or "input")')
    .option('--batch <number>', 'images of a run; of --input the first ones', positiveInteger)
    .option('--size <HxW>', "height and width of seeded images (default: the graph's)", imageSize)
    .option(
      '--input-shape <shape>',
      'shape of a seeded input, such as 1x3x224x224; of several inputs name:1x80, given for each',
      namedShape,
      [],
    )
    .option('--runs <number>', 'timed runs', positiveInteger, 20)
    .option('--threads <number>', 'threads (default: CPUs and quota)', positiveInteger)
    .option('--json', 'print the whole report as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ repfuse bench test/fixtures/trained/digits-acnet.pth --graph examples/digits-acnet.graph.json',
    )
    .action(async (file: string, flags: BenchFlags) => {
      session.json = flags.json === true;
      await session.run(async () => {
        const { signal } = session;
        const { graph, tensors } = await readModel(file, { ...(await graphOptions(flags)), signal });
        const input = await inputOf({ graph, tensors }, flags);
        const model = input instanceof Tensor ? { graph: imagesOf(graph, input), tensors } : { graph, tensors };
        const { runs, threads } = flags;
        if (flags.precision === 'all') {
          if (flags.memory !== undefined)
            throw new RepfuseError(
              'ERR_REPFUSE_INVALID_ARGUMENT',
              'Expected no --memory beside --precision all, which compares layers and not engines',
            );
          const report = { file, ...(await measurePrecision(model, input, { runs, threads, signal })) };
          if (session.json) session.jsonResult(report);
          else session.result(formatPrecision(printable(report)));
        } else {
          const report = { file, ...(await bench(model, input, { ...flags, precision: flags.precision }, signal)) };
          if (session.json) session.jsonResult(report);
          else session.result(formatBench(printable(report)));
        }
      });
    });
}

/** A graph of images, whose plan for those of a size is made at once. */
function imagesOf(graph: Model['graph'], { shape }: Tensor): Model['graph'] {
  if (graph.inputs !== undefined || shape.length !== 4) return graph;
  if (graph.inputShape?.join() === shape.slice(1).join()) return graph;
  return { ...graph, inputShape: shape.slice(1) as [number, number, number], anySize: true };
}

async function inputOf({ graph, tensors }: Model, flags: BenchFlags): Promise<InputTensors> {
  const { input, tensor, batch, size, inputShape } = flags;
  if (inputShape.length > 0) {
    if (input !== undefined || batch !== undefined || size !== undefined)
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        'Expected no --input, --batch or --size beside --input-shape, which says all of it',
      );
    return seededOf({ graph, tensors }, inputShape);
  }
  if (graph.inputs !== undefined) {
    const flag = batch !== undefined ? '--batch' : size !== undefined ? '--size' : undefined;
    if (flag !== undefined)
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected no ${flag} for a model whose inputs are other than images: give them with --input`,
      );
    return input === undefined ? seededInputs({ graph, tensors }, 1) : readInputs(graph, input, tensor);
  }
  if (input === undefined) {
    const [channels = 3, ...own] = graph.inputShape ?? [];
    const shape = [batch ?? 1, channels, ...(size ?? (own.length === 2 ? own : [224, 224]))];
    return Tensor.f32(shape, uniformValues(seededUniform(1), elementCount(shape), -1, 1));
  }
  const images = normalizeInput(graph, await readImages(input, tensor));
  const [count = 1, ...rest] = images.shape;
  const taken = Math.min(batch ?? count, count);
  return Tensor.f32([taken, ...rest], (images.data as Float32Array).slice(0, taken * elementCount(rest)));
}

interface BenchReport {
  /** Shape of the input, of several by name. */
  readonly input: InputShapes;
  readonly precision: Precision;
  readonly threads: number;
  /** Compiling and the first run. */
  readonly compileMilliseconds: number;
  readonly milliseconds: { readonly median: number; readonly least: number };
  readonly memory: Engine['memory'];
  readonly steps: readonly EngineStep[];
}

async function bench(
  model: Model,
  input: InputTensors,
  { precision, memory, runs, threads }: Omit<BenchFlags, 'precision'> & { readonly precision: Precision },
  signal: AbortSignal,
): Promise<BenchReport> {
  const started = performance.now();
  await using engine = await Engine.create(model, { precision, memory, threads, signal });
  const out = await engine.run(input, { signal });
  const compileMilliseconds = performance.now() - started;
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const before = performance.now();
    await engine.run(input, { out, signal });
    times.push(performance.now() - before);
  }
  times.sort((a, b) => a - b);
  return {
    input: shapesOf(input),
    precision,
    threads: engine.threads,
    compileMilliseconds,
    milliseconds: { median: times[times.length >> 1]!, least: times[0]! },
    memory: engine.memory,
    steps: engine.explain(shapesOf(input)),
  };
}

interface NamedShape {
  /** Of an input; undefined where there is one alone. */
  readonly name?: string;
  readonly shape: readonly number[];
}

function namedShape(text: string, before: readonly NamedShape[]): readonly NamedShape[] {
  const [, name, sizes] = /^(?:(.+):)?([1-9]\d{0,8}(?:x[1-9]\d{0,8}){0,7})$/.exec(text) ?? [];
  if (sizes === undefined) throw new InvalidArgumentError('expected sizes such as 1x3x224x224, or name:1x80');
  return [...before, { ...(name === undefined ? {} : { name }), shape: sizes.split('x').map(Number) }];
}

/** Seeded inputs, some of which have these shapes. */
function seededOf(model: Model, given: readonly NamedShape[]): InputTensors {
  const inputs = inputsOf(model.graph);
  const names = inputs.map(({ id }) => id);
  const shapes = given.map(({ name = names[0]!, shape }) => [name, shape] as const);
  const unknown = shapes.find(([name]) => !names.includes(name));
  if (unknown !== undefined || (given.some(({ name }) => name === undefined) && names.length > 1))
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected shapes of the inputs ${names.map((name) => quote(name)).join(', ')} for --input-shape but received ${unknown === undefined ? 'one without a name' : `one of ${quote(unknown[0])}`}`,
    );
  const seeded = seededInputs(model, 1, new Map(shapes));
  return model.graph.inputs === undefined ? seeded.get(names[0]!)! : seeded;
}

function imageSize(text: string): readonly [number, number] {
  const [, height, width] = /^(\d+)x(\d+)$/.exec(text) ?? [];
  if (height === undefined) throw new InvalidArgumentError('expected height x width, such as 224x224');
  return [Number(height), Number(width)];
}

function formatBench({
  input,
  precision,
  threads,
  compileMilliseconds,
  milliseconds,
  memory,
  steps,
}: BenchReport): string {
  const rows = steps.map(({ layer, kernel, epilogue, output, macs, estimate, error, seconds, shareOfPeak }) => [
    layer,
    kernel,
    epilogue,
    output.slice(1).join('x'),
    formatCount(Math.round(macs / 1000)),
    estimate === null ? '-' : (estimate * 1e6).toFixed(0),
    seconds === null ? '-' : (seconds * 1e6).toFixed(0),
    shareOfPeak === null ? '-' : `${(100 * shareOfPeak).toFixed(0)} %`,
    error === null ? '-' : error.toFixed(1),
  ]);
  const bytes = memory.packedWeights + memory.sourceWeights + memory.activations + memory.workspace;
  return [
    formatTable(['layer', 'kernel', 'and then', 'output', 'kMAC', 'estimate us', 'us', 'of peak', 'error'], rows),
    '',
    `${formatShapes(input)}, ${precision}, ${threads} threads: ${milliseconds.median.toFixed(3)} ms (least ${milliseconds.least.toFixed(3)})`,
    `compiled and run once in ${compileMilliseconds.toFixed(0)} ms; ${(bytes / 1e6).toFixed(1)} MB, of which packed weights ${(memory.packedWeights / 1e6).toFixed(1)}`,
  ].join('\n');
}
