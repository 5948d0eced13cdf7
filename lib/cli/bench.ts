import { Command, InvalidArgumentError } from 'commander';
import { Engine, type EngineStep, readModel } from '../engine';
import { seededUniform, uniformValues } from '../tensor/random';
import { elementCount, formatShape, Tensor } from '../tensor/tensor';
import { addGraphFlags, type GraphFlags, graphOptions } from './graph-flags';
import { positiveInteger } from './options';
import type { Session } from './session';
import { formatCount, formatTable } from './table';

interface BenchFlags extends GraphFlags {
  readonly batch: number;
  readonly size?: readonly [number, number];
  readonly runs: number;
  readonly threads?: number;
  readonly json?: true;
}

export function benchCommand(session: Session): Command {
  const command = new Command('bench')
    .description('Time a network in the engine: compiling, whole runs, and every layer with its kernel.')
    .argument('<model>', 'model file, as convert --graph writes it, or a checkpoint and its --arch');
  return addGraphFlags(command, 'where the file holds none')
    .option('--batch <number>', 'images of a run', positiveInteger, 1)
    .option('--size <HxW>', "height and width of the images (default: the graph's)", imageSize)
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
        const model = await readModel(file, { ...(await graphOptions(flags)), signal });
        const { inputShape } = model.graph;
        const [channels = 3, ...size] = inputShape ?? [];
        const shape = [flags.batch, channels, ...(flags.size ?? (size.length === 2 ? size : [224, 224]))];
        const graph = { ...model.graph, inputShape: shape.slice(1) as [number, number, number] };
        const started = performance.now();
        await using engine = await Engine.create({ ...model, graph }, { threads: flags.threads, signal });
        const input = Tensor.f32(shape, uniformValues(seededUniform(1), elementCount(shape), -1, 1));
        const out = await engine.run(input, { signal });
        const compileMilliseconds = performance.now() - started;
        const times: number[] = [];
        for (let i = 0; i < flags.runs; i++) {
          const before = performance.now();
          await engine.run(input, { out, signal });
          times.push(performance.now() - before);
        }
        times.sort((a, b) => a - b);
        const report: BenchReport = {
          file,
          input: shape,
          threads: engine.threads,
          compileMilliseconds,
          milliseconds: { median: times[times.length >> 1]!, least: times[0]! },
          memory: engine.memory,
          steps: engine.explain(shape),
        };
        if (session.json) session.jsonResult(report);
        else session.result(formatBench(report));
      });
    });
}

interface BenchReport {
  readonly file: string;
  readonly input: readonly number[];
  readonly threads: number;
  /** Compiling and the first run. */
  readonly compileMilliseconds: number;
  readonly milliseconds: { readonly median: number; readonly least: number };
  readonly memory: Engine['memory'];
  readonly steps: readonly EngineStep[];
}

function imageSize(text: string): readonly [number, number] {
  const [, height, width] = /^(\d+)x(\d+)$/.exec(text) ?? [];
  if (height === undefined) throw new InvalidArgumentError('expected height x width, such as 224x224');
  return [Number(height), Number(width)];
}

function formatBench({ input, threads, compileMilliseconds, milliseconds, memory, steps }: BenchReport): string {
  const rows = steps.map(({ layer, kernel, output, macs, estimate, seconds, shareOfPeak }) => [
    layer,
    kernel,
    output.slice(1).join('x'),
    formatCount(Math.round(macs / 1000)),
    estimate === null ? '-' : (estimate * 1e6).toFixed(0),
    seconds === null ? '-' : (seconds * 1e6).toFixed(0),
    shareOfPeak === null ? '-' : `${(100 * shareOfPeak).toFixed(0)} %`,
  ]);
  const bytes = memory.packedWeights + memory.sourceWeights + memory.activations + memory.workspace;
  return [
    formatTable(['layer', 'kernel', 'output', 'kMAC', 'estimate us', 'us', 'of peak'], rows),
    '',
    `${formatShape(input)}, ${threads} threads: ${milliseconds.median.toFixed(3)} ms (least ${milliseconds.least.toFixed(3)})`,
    `compiled and run once in ${compileMilliseconds.toFixed(0)} ms; ${(bytes / 1e6).toFixed(1)} MB, of which packed weights ${(memory.packedWeights / 1e6).toFixed(1)}`,
  ].join('\n');
}
