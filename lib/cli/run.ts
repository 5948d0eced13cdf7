import { Command } from 'commander';
import { readNpy } from '../checkpoint/npy';
import { withFile } from '../checkpoint/random-access';
import { readCheckpoint } from '../checkpoint/read-checkpoint';
import { writeSafetensors } from '../checkpoint/write-safetensors';
import { RepfuseError } from '../errors';
import { evaluateAsync, type Graph, normalizeInput, readGraphMetadata } from '../graph';
import { softmax } from '../ops';
import { toFloat32 } from '../tensor/half';
import { formatShape, Tensor } from '../tensor/tensor';
import { positiveInteger } from './options';
import type { Session } from './session';
import { formatTable } from './table';

interface RunFlags {
  readonly input: string;
  readonly tensor?: string;
  readonly output?: string;
  readonly force?: true;
  readonly raw?: true;
  readonly threads?: number;
  readonly json?: true;
}

export function runCommand(session: Session): Command {
  return new Command('run')
    .description('Run a model file (safetensors with its graph) on a batch of images.')
    .argument('<model>', 'model file, as convert --graph writes it')
    .requiredOption('--input <file>', 'images [N, C, H, W]: .npy, or safetensors')
    .option('--tensor <name>', 'which tensor of a safetensors input (default: the only one, or "input")')
    .option('--output <file>', 'write the result as safetensors (tensor "output")')
    .option('--force', 'overwrite the output')
    .option('--raw', 'the input is normalised already')
    .option('--threads <number>', 'threads (default: CPUs and quota)', positiveInteger)
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      '\nExample (the model file comes from convert --graph, see docs/cli.md):\n  $ repfuse run digits-acnet.model.safetensors --input test/fixtures/trained/digits-test.safetensors --tensor images',
    )
    .action(async (model: string, flags: RunFlags) => {
      session.json = flags.json === true;
      await session.run(async () => {
        const { tensors, metadata } = await readCheckpoint(model, { signal: session.signal });
        const graph = readGraphMetadata(metadata);
        if (graph === undefined) {
          throw new RepfuseError(
            'ERR_REPFUSE_GRAPH',
            `Expected a model file but ${model} holds no graph: write one with repfuse convert --graph`,
            { file: model },
          );
        }
        const images = await readImages(flags.input, flags.tensor);
        const input = flags.raw === true ? images : normalizeInput(graph, images);
        const output = await evaluateAsync(graph, tensors, input, { threads: flags.threads, signal: session.signal });
        if (flags.output !== undefined)
          await writeSafetensors(flags.output, new Map([['output', output]]), { force: flags.force });
        if (session.json) session.jsonResult({ shape: output.shape, data: [...(output.data as Float32Array)] });
        else session.result(describe(output, graph));
      });
    });
}

async function readImages(file: string, name: string | undefined): Promise<Tensor> {
  const tensor = file.endsWith('.npy')
    ? await withFile(file, readNpy)
    : pick((await readCheckpoint(file)).tensors, name, file);
  if (tensor.dtype === 'I64')
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected images in ${file} but received I64`, { file });
  const floating = ['F64', 'F32', 'F16', 'BF16'].includes(tensor.dtype);
  return Tensor.f32(tensor.shape, floating ? toFloat32(tensor) : Float32Array.from(tensor.data as Uint8Array));
}

function pick(tensors: ReadonlyMap<string, Tensor>, name: string | undefined, file: string): Tensor {
  const found =
    name !== undefined ? tensors.get(name) : tensors.size === 1 ? [...tensors.values()][0] : tensors.get('input');
  if (found !== undefined) return found;
  throw new RepfuseError(
    'ERR_REPFUSE_KEY',
    `Expected a tensor ${name ?? 'input'} in ${file} but it holds ${[...tensors.keys()].join(', ')} (choose with --tensor)`,
    { file },
  );
}

/** The best class of each image for a classifier, the shape otherwise. */
function describe(output: Tensor, { labels }: Graph): string {
  const [count, classes, ...rest] = output.shape as [number, number];
  if (rest.length > 0 || classes === undefined) return `output ${formatShape(output.shape)}`;
  const probabilities = softmax(output).data as Float32Array;
  const rows = Array.from({ length: count }, (_, i) => {
    const row = probabilities.subarray(i * classes, (i + 1) * classes);
    const best = row.indexOf(Math.max(...row));
    return [String(i), labels?.[best] ?? String(best), row[best]!.toFixed(4)];
  });
  return formatTable(['image', 'class', 'probability'], rows);
}
