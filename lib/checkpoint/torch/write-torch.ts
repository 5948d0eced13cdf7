import { checkOptions } from '../../arguments/check';
import { membersOf } from '../../arguments/schemas';
import { DTYPES } from '../../tensor/dtype';
import { elementCount, type Tensor } from '../../tensor/tensor';
import { writeNewFile } from '../files/new-file';
import { pathOf } from '../files/source';
import { bytesOf, inTurn, sourcesOf, type TensorSource } from '../tensor-source';
import { WRITE_OPTIONS, type WriteOptions } from '../write-options';
import { ZipWriter } from '../zip/zip-writer';
import { storageClass, torchName } from './torch-pickle';

/** Bytes that storages are aligned to, as torch.save does. */
const ALIGNMENT = 64;
const FOLDER = 'archive';

const OPTIONS = membersOf<WriteOptions>()(WRITE_OPTIONS);

/**
 * Writes a state dict as `torch.save` does (zip format): an OrderedDict of dense CPU tensors, one storage each, made of nothing but what
 * `torch.load(weights_only=True)` allows. Order and names are those of the map; equal input gives equal bytes.
 *
 * @throws as `writeNewFile`
 */
export async function writeTorch(
  file: string | URL,
  tensors: ReadonlyMap<string, Tensor | TensorSource>,
  given: WriteOptions = {},
): Promise<void> {
  const options = checkOptions('writeTorch', OPTIONS, given);
  const sources = sourcesOf(tensors);
  const pickle = stateDictPickle(sources);
  const total = sources.reduce((sum, { source }) => sum + bytesOf(source), pickle.length);
  const onBytes = (done: number) => options.onProgress?.({ phase: 'write', done: Math.min(done, total), total });
  await writeNewFile(pathOf(file), { ...options, onBytes }, async (sink) => {
    const zip = new ZipWriter(sink, ALIGNMENT);
    await zip.add(`${FOLDER}/data.pkl`, pickle);
    await zip.add(`${FOLDER}/byteorder`, Buffer.from('little'));
    await inTurn(
      sources.map(({ source }) => source),
      ({ data }, index) =>
        zip.add(`${FOLDER}/data/${index}`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    );
    await zip.add(`${FOLDER}/version`, Buffer.from('3\n'));
    await zip.finish();
  });
}

const ORDERED_DICT = Buffer.from('ccollections\nOrderedDict\n)R', 'latin1');

/**
 * Pickle protocol 2 of `OrderedDict` from name to `_rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`; of types without
 * storages of their own to `_rebuild_tensor_v3(..., type)` over an untyped one.
 */
function stateDictPickle(tensors: readonly { readonly name: string; readonly source: TensorSource }[]): Buffer {
  const items = tensors.flatMap(({ name, source: { dtype, shape } }, index) => {
    const type = storageClass(dtype);
    const count = elementCount(shape);
    return [
      text(name),
      opcodes(`ctorch._utils\n_rebuild_tensor_v${type === undefined ? 3 : 2}\n((`),
      text('storage'),
      opcodes(type === undefined ? 'ctorch.storage\nUntypedStorage\n' : `ctorch\n${type}\n`),
      text(String(index)),
      text('cpu'),
      integer(type === undefined ? count * DTYPES[dtype].bytes : count),
      opcodes('tQ'),
      integer(0),
      tuple(shape),
      tuple(stridesOf(shape)),
      opcodes('\x89'),
      ORDERED_DICT,
      ...(type === undefined ? [opcodes(`ctorch\n${torchName(dtype)}\n`)] : []),
      opcodes('tR'),
    ];
  });
  return Buffer.concat([opcodes('\x80\x02'), ORDERED_DICT, opcodes('('), ...items, opcodes('u.')]);
}

function opcodes(codes: string): Buffer {
  return Buffer.from(codes, 'latin1');
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(5);
  head.write('X');
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** A safe integer of at least 0. */
function integer(value: number): Buffer {
  const small = value < 2 ** 31;
  const bytes = Buffer.alloc(small ? 5 : 10);
  bytes.write(small ? 'J' : '\x8a\x08', 'latin1');
  if (small) bytes.writeInt32LE(value, 1);
  else bytes.writeBigInt64LE(BigInt(value), 2);
  return bytes;
}

function tuple(values: readonly number[]): Buffer {
  return Buffer.concat([opcodes('('), ...values.map(integer), opcodes('t')]);
}

function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => elementCount(shape.slice(axis + 1).map((dim) => Math.max(dim, 1))));
}
