import { readNpy } from '../../lib/checkpoint/npz/npy';
import { memoryAccess } from '../support/memory-access';
import { refusal } from '../support/refusal';

const read = (bytes: Uint8Array) => readNpy(memoryAccess(bytes));

/** Arrays as numpy 2.4 writes them. */
describe('written by numpy', () => {
  test.each<[string, string, object]>([
    [
      'version 1, float64',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAD4PwAAAAAAAADAAAAAAAAAAAAAAAAAAADwfwEAAAAAAAAAnHUAiDzkN34=',
      { dtype: 'F64', shape: [2, 3], data: Float64Array.of(1.5, -2, 0, Number.POSITIVE_INFINITY, 5e-324, 1e300) },
    ],
    [
      'version 2, float32',
      'k05VTVBZAgB0AAAAeydkZXNjcic6ICc8ZjQnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMSwgMiwgMyksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAACAPwAAAEAAAEBAAACAQAAAoEA=',
      { dtype: 'F32', shape: [1, 2, 3], data: Float32Array.of(0, 1, 2, 3, 4, 5) },
    ],
    [
      'version 3, uint8',
      'k05VTVBZAwB0AAAAeydkZXNjcic6ICd8dTEnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMywpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAv8=',
      { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 255) },
    ],
    [
      'a 0-dim int64',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnPGk4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAr5/////////w==',
      { dtype: 'I64', shape: [], data: BigInt64Array.of(-7n) },
    ],
    [
      'float16',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnPGYyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDMsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAPP97AQA=',
      { dtype: 'F16', shape: [3], data: Uint16Array.of(0x3c00, 0x7bff, 1) },
    ],
    [
      'an empty bool array',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnfGIxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDAsIDQpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAo=',
      { dtype: 'BOOL', shape: [0, 4], data: new Uint8Array() },
    ],
  ])('%s', async (_, text, expected) => {
    expect(await read(Buffer.from(text, 'base64'))).toMatchObject(expected);
  });

  test.each<[string, string, string, RegExp]>([
    [
      'Fortran order',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgMyksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAABAQAAAgD8AAIBAAAAAQAAAoEA=',
      'fortran_order',
      /ascontiguousarray/,
    ],
    [
      'big endian',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnPmY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAP4AAAA==',
      'descr',
      />f4/,
    ],
    [
      'records',
      'k05VTVBZAQB2AHsnZGVzY3InOiBbKCdhJywgJzxmNCcpLCAoJ2InLCAnPGk0JyldLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMSwpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAAAA==',
      'descr',
      /'a'/,
    ],
    [
      'uint16',
      'k05VTVBZAQB2AHsnZGVzY3InOiAnPHUyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAEA',
      'descr',
      /<u2/,
    ],
  ])('%s is recognised and refused', async (_, text, field, message) => {
    const error = await refusal(read(Buffer.from(text, 'base64')));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_UNSUPPORTED_FORMAT', details: { field } });
    expect(error.message).toMatch(message);
  });
});

function encode(header: string, data = new Uint8Array(8), { version = 1, length = header.length } = {}): Uint8Array {
  const size = Buffer.alloc(version === 1 ? 2 : 4);
  if (version === 1) size.writeUInt16LE(length);
  else size.writeUInt32LE(length);
  return Buffer.concat([
    Buffer.from('\x93NUMPY', 'latin1'),
    Buffer.from([version, 0]),
    size,
    Buffer.from(header),
    data,
  ]);
}

const GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";

test('keys in any order, with or without the last comma', async () => {
  const header = "{'shape':(2L,),'fortran_order':False,'descr':'<f4'}\n";
  expect(await read(encode(header))).toMatchObject({ dtype: 'F32', shape: [2] });
});

describe('damaged files are refused', () => {
  test.each<[string, Uint8Array, string, RegExp]>([
    ['nothing', new Uint8Array(), 'magic', /begin/],
    ['another format', Buffer.from('PK\x03\x04 and so on'), 'magic', /begin/],
    ['a future version', encode(GOOD, new Uint8Array(8), { version: 4 }), 'version', /4\.0/],
    ['a header of 4 GiB', encode(GOOD, new Uint8Array(8), { version: 2, length: 0xffffffff }), 'header', /too large/],
    ['an empty header', encode(''), 'header', /no dict/],
    ['a missing key', encode("{'descr': '<f4', 'shape': (2,), }"), 'header', /no dict/],
    [
      'a key twice',
      encode("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"),
      'header',
      /duplicate/,
    ],
    ['a foreign key', encode("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}"), 'header', /no dict/],
    ['code', encode(`${GOOD}.__class__`), 'header', /no dict/],
    ['no commas', encode("{'descr': '<f4' 'fortran_order': False 'shape': (2,)}"), 'header', /no dict/],
    ['a negative size', encode(GOOD.replace('2', '-2')), 'header', /no dict/],
    ['an empty size', encode(GOOD.replace('(2,)', '(2,,)')), 'shape', /no tuple/],
    ['a size of 2^53', encode(GOOD.replace('2', '9007199254740992')), 'shape', /no tuple/],
    ['a hundred axes', encode(GOOD.replace('2', Array(100).fill('1').join(','))), 'shape', /no tuple/],
    ['too few bytes', encode(GOOD, new Uint8Array(7)), 'shape', /truncated/],
    ['a million elements', encode(GOOD.replace('2', '1000,1000')), 'shape', /truncated/],
    [
      'infinity times zero',
      encode(GOOD.replace('2', `${Array(24).fill('1000000000000000').join(',')},0`)),
      'shape',
      /bytes/,
    ],
    ['trailing bytes', encode(GOOD, new Uint8Array(9)), 'shape', /1 trailing/],
  ])('%s', async (_, bytes, field, message) => {
    const error = await refusal(read(bytes));
    expect(error.details.field).toBe(field);
    expect(error.message).toMatch(message);
  });

  test('a header that ends behind the file', async () => {
    const error = await refusal(read(encode(GOOD, new Uint8Array(), { length: 60 })));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_FORMAT' });
    expect(error.message).toMatch(/truncated/);
  });
});
