import { Command } from 'commander';
import { formatOfName, type OutputFormat, writeStateDict } from '../checkpoint/write-checkpoint';
import { Engine, type EngineOptions, type Precision, readModel } from '../engine';
import { RepfuseError } from '../errors';
import { type Graph, normalizeInput } from '../graph';
import { softmaxAsync } from '../ops';
import { printable } from '../printable';
import { DTYPES } from '../tensor/dtype';
import { floatValues } from '../tensor/half';
import { formatShape, Tensor } from '../tensor/tensor';
import { addGraphFlags, type GraphFlags, graphOptions } from './graph-flags';
import { readInputs } from './images';
import { memoryOption, positiveInteger, precisionOption } from './options';
import type { Session } from './session';
import { formatTable } from './table';

interface RunFlags extends GraphFlags {
  readonly input: string;
  readonly tensor?: string;
  readonly output?: string;
  readonly force?: true;
  readonly raw?: true;
  readonly top: number;
  readonly precision: Precision;
  readonly memory?: EngineOptions['memory'];
  readonly threads?: number;
  readonly json?: true;
}

/** A likely class of an image. */
interface Guess {
  readonly class: number;
  readonly label?: string;
  readonly probability: number;
}

export function runCommand(session: Session): Command {
  const command = new Command('run')
    .description('Run a model file (safetensors with its graph, or ONNX) on a batch of images, or on what it takes.')
    .argument('<model>', 'model file, as convert --graph writes it, or a checkpoint and its --arch');
  return addGraphFlags(command, 'where the file holds none')
    .requiredOption(
      '--input <file>',
      'images [N, C, H, W], or what the network takes: .npy; safetensors or .npz, of several inputs by their names',
    )
    .option('--tensor <name>', 'which tensor of a safetensors input (default: the only one, or "input")')
    .option(
      '--output <file>',
      'write the result (tensor "output", or each output by its name): .safetensors, .npz, .pth',
    )
    .option('--force', 'overwrite the output')
    .option('--raw', 'the input is normalised already')
    .option('--top <number>', 'classes to show of each image', positiveInteger, 1)
    .addOption(precisionOption())
    .addOption(memoryOption())
    .option('--threads <number>', 'threads (default: CPUs and quota)', positiveInteger)
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      '\nExample:\n' +
        '  $ repfuse convert test/fixtures/trained/digits-acnet.pth -o digits-acnet.safetensors --graph examples/digits-acnet.graph.json\n' +
        '  $ repfuse run digits-acnet.safetensors --input test/fixtures/trained/digits-test.safetensors --tensor images',
    )
    .action(async (model: string, flags: RunFlags) => {
      session.json = flags.json === true;
      await session.run(async () => {
        const { signal } = session;
        const format = flags.output === undefined ? undefined : formatOfTensors(flags.output);
        const { graph, tensors } = await readModel(model, { ...(await graphOptions(flags)), signal });
        const given = await readInputs(graph, flags.input, flags.tensor);
        const input = flags.raw !== true && given instanceof Tensor ? normalizeInput(graph, given) : given;
        await using engine = await Engine.create(
          { graph, tensors },
          { precision: flags.precision, memory: flags.memory, threads: flags.threads, signal },
        );
        const outputs = await engine.runAll<Tensor>(input, { signal });
        const named = graph.outputs === undefined ? new Map([['output', [...outputs.values()][0]!]]) : outputs;
        if (format !== undefined) await writeStateDict(flags.output!, format, named, { force: flags.force, signal });
        if (graph.outputs === undefined) await showOutput(session, named.get('output')!, graph, flags.top);
        else if (session.json) session.jsonResult({ outputs: Object.fromEntries([...named].map(valuesOf)) });
        else
          session.result([...named].map(([name, { shape }]) => `${printable(name)} ${formatShape(shape)}`).join('\n'));
      });
    });
}

function formatOfTensors(file: string): OutputFormat {
  const format = formatOfName(file) ?? 'safetensors';
  if (format !== 'onnx') return format;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a file of tensors for the output but received ${file}`,
    {
      file,
    },
  );
}

async function showOutput(session: Session, output: Tensor, graph: Graph, top: number): Promise<void> {
  const classes = await guess(output, graph, top);
  if (session.json) session.jsonResult({ ...valuesOf(['output', output])[1], classes });
  else session.result(classes === null ? `output ${formatShape(output.shape)}` : formatClasses(printable(classes)));
}

function valuesOf([name, tensor]: readonly [string, Tensor]) {
  const { dtype, shape, data } = tensor;
  const values = DTYPES[dtype].floating ? floatValues(tensor) : (data as ArrayLike<number | bigint>);
  return [name, { shape, data: Array.from(values, Number) }] as const;
}

/** The `top` most likely classes of each image, for a classifier [N, classes]; null for any other network. */
async function guess(output: Tensor, graph: Graph, top: number): Promise<Guess[][] | null> {
  const [count, classes] = output.shape as [number, number];
  if (output.shape.length !== 2 || output.dtype !== 'F32') return null;
  const isProbability = graph.nodes.find(({ id }) => id === graph.output)?.op === 'softmax';
  const data = (isProbability ? output : await softmaxAsync(output)).data as Float32Array;
  return Array.from({ length: count }, (_, image) =>
    Array.from(data.subarray(image * classes, (image + 1) * classes), (probability, index) => {
      const label = graph.labels?.[index];
      return { class: index, ...(label === undefined ? {} : { label }), probability };
    })
      .sort((a, b) => b.probability - a.probability)
      .slice(0, top),
  );
}

function formatClasses(classes: readonly (readonly Guess[])[]): string {
  const rows = classes.flatMap((guesses, image) =>
    guesses.map(({ class: index, label, probability }) => [
      String(image),
      label ?? String(index),
      probability.toFixed(4),
    ]),
  );
  return formatTable(['image', 'class', 'probability'], rows);
}
